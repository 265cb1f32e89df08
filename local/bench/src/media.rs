//! Files of inbound messages: how many per second `store-media` copies to an S3 server on this machine, and their cost.

use crate::cluster::{Cluster, Database};
use crate::function::Function;
use crate::http::{self, Response};
use crate::statistics::{median, milliseconds};
use crate::traffic;
use crate::world::World;
use common::queue::MediaMessage;
use testing::S3;

/// The number of files per run.
const FILES: u64 = 300;
/// The size of a file in bytes: a photo from a phone, after the carrier reduced it.
const SIZE: usize = 300_000;

/// Prints a line for messages with one file, and one for messages with ten.
pub fn measure(world: &World, cluster: &Cluster, rounds: u64) {
    if !world.binary("store-media").exists() {
        println!("media store-media not built");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let s3 = runtime.block_on(S3::start());
    let twilio = twilio();
    for files in [1, 10] {
        let database = cluster.database(&format!("media_{files}"));
        let mut environment = world.environment(&database.url);
        for (name, value) in [
            ("TWILIO_API_BASE_URL", twilio.as_str()),
            ("MEDIA_BUCKET", s3.bucket()),
            ("AWS_ENDPOINT_URL_S3", s3.url()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ] {
            environment.retain(|(other, _)| other != name);
            environment.push((name.to_owned(), value.to_owned()));
        }
        let function = Function::start(&world.binary("store-media"), &environment, Vec::new());
        copy(&function, &database, &twilio, files, rounds);
    }
}

fn copy(function: &Function, database: &Database<'_>, twilio: &str, files: u64, rounds: u64) {
    let (mut rates, mut in_function, mut in_postgres) = (vec![], vec![], vec![]);
    // The first run is the warm-up.
    for round in 0..=rounds {
        let hints = messages(database, twilio, round, files);
        database.settle();
        let before = database.cluster.cpu();
        let series = function.run(hints);
        let postgres = milliseconds(database.cluster.cpu() - before);
        if round > 0 {
            rates.push(FILES as f64 / series.elapsed.as_secs_f64());
            in_function.push(milliseconds(series.cpu) / FILES as f64);
            in_postgres.push(postgres / FILES as f64);
        }
    }
    let stored = database.number("select count(*) from sms_media where status = 'stored'");
    assert_eq!(stored as u64, (rounds + 1) * FILES, "each file must be copied");
    println!(
        "media copy files_per_message={files} bytes={SIZE} per_second={:.0} function_ms={:.3} postgres_ms={:.3} \
         runs={rounds}x{FILES}",
        median(&rates),
        median(&in_function),
        median(&in_postgres),
    );
}

/// Stores messages with files, and returns an event for each.
fn messages(database: &Database<'_>, twilio: &str, round: u64, files: u64) -> Vec<Vec<u8>> {
    let messages = FILES / files;
    database.execute(&format!(
        "insert into sms_conversations (id, account_sid, phone_number_canonical, phone_number_original, created_at)
         select sms_new_id(), 'AC1', number, number, now()
         from (select '+1203' || (5000000 + {round} * {FILES} + n) as number from generate_series(1, {messages}) n) n;
         insert into sms_messages (id, conversation_id, direction, twilio_sid, from_number, to_number, message_content,
             delivery_status, created_at)
         select sms_new_id(), c.id, 'inbound', 'MM' || md5(c.id::text), c.phone_number_canonical, '+18605550100',
             'A leak', 'received', now()
         from sms_conversations c where not exists (select from sms_messages m where m.conversation_id = c.id);
         insert into sms_media (id, message_id, position, url, declared_type, status, next_attempt_at, created_at)
         select sms_new_id(), m.id, position, '{twilio}/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME' || position,
             'image/jpeg', 'pending', now(), now()
         from sms_messages m, generate_series(0, {files} - 1) position
         where not exists (select from sms_media f where f.message_id = m.id)"
    ));
    let due = "select concat_ws(' ', m.id, m.conversation_id) from sms_messages m where exists (
                   select from sms_media f where f.message_id = m.id and f.status = 'pending')";
    database.texts(due).iter().map(|ids| hint(ids)).collect()
}

/// Returns the event for a message, from its id and that of its conversation.
fn hint(ids: &str) -> Vec<u8> {
    let (message, conversation) = ids.split_once(' ').unwrap();
    let hint = MediaMessage::new(message.parse().unwrap(), conversation.parse().unwrap());
    traffic::records("media", std::iter::once(serde_json::to_string(&hint).unwrap()))
}

/// Starts a server that plays Twilio, which redirects to files, and the storage service. Returns its URL.
fn twilio() -> String {
    let mut file = vec![0x5a; SIZE];
    file[..12].copy_from_slice(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01");
    let address = http::serve(move |request| {
        let is_resource = request.line.starts_with("GET /2010-04-01/");
        let redirect = is_resource.then(|| "location: /files/1\r\n".to_owned());
        Some(Response {
            status: if is_resource { "307 Temporary Redirect" } else { "200 OK" },
            headers: redirect.unwrap_or_default(),
            body: if is_resource { Vec::new() } else { file.clone() },
        })
    });
    format!("http://{}", address.expect("a port"))
}
