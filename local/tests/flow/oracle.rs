//! The one oracle of everything that goes wrong: what Twilio and its handsets have, against what the database says.
//!
//! It is asked when all is quiet again, and knows nothing of what was done to the stack:
//! - no handset has a message twice for one request to send, also if Twilio replaced characters in it;
//! - every accepted request has ended: delivered if the handset has it, failed if not, or visibly `unknown`;
//! - no create call for a handset arrived while its STOP was committed, except within what is known to cut a call loose from
//!   the gate that keeps STOPs and calls apart: [`Loose`];
//! - every inbound message that Twilio was told is accepted, and after the comparison with Twilio every one that it has,
//!   is in the database once, word for word;
//! - nothing is left: no claim, no open attempt, no spooled webhook, no queued message.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use common::domain::smart_encoding::SmartEncoding;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::client::{Sql, exchange, request};
use crate::stack::Stack;

/// How long a deterministic test waits for quiet.
pub const PATIENCE: Duration = crate::stack::DEADLINE;
/// How long a call takes to arrive at most, once it may be made: as long as the sender holds a STOP back for it.
const ARRIVAL: SignedDuration = SignedDuration::from_millis(1_250);

/// A time in which a call that a sender was permitted to make was held back by nothing any more: the sender was stopped
/// (SIGSTOP, until it went on) or killed (what it had written was on its way), or its connection to Postgres, and with it
/// its lock, was cut. A STOP that was committed from then on may be followed by a call that arrives until shortly after.
#[derive(Debug, Clone)]
pub struct Loose {
    pub what: &'static str,
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Loose {
    fn explains(&self, stop: Timestamp, call: Timestamp) -> bool {
        self.from <= stop && call <= self.until + ARRIVAL
    }
}

/// What can be asked of a run.
#[derive(Debug, Clone)]
pub struct Terms {
    /// When calls may have been cut loose from their gates.
    loose: Vec<Loose>,
    /// Whether everything has been compared with Twilio's lists: then nothing is unknown, untold or missing.
    is_reconciled: bool,
}

/// What holds as soon as all is quiet: a STOP waits for the calls that have begun.
pub const QUIET: Terms = Terms { loose: Vec::new(), is_reconciled: false };

impl Terms {
    /// What holds after everything went wrong and was resolved.
    pub fn resolved(loose: Vec<Loose>) -> Self {
        Self { loose, is_reconciled: true }
    }
}
/// The statuses after which nothing comes, and `unknown`, which is visible.
const ENDED: &str = "('delivered', 'read', 'undelivered', 'failed', 'canceled', 'unknown')";

/// A request to send that the API accepted. Its body is its own: so the handset's copies are known.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The message's id.
    pub id: String,
    /// The handset.
    pub to: String,
    /// The text, of no other intent.
    pub body: String,
}

/// What Twilio has.
struct Twilio {
    /// Every text on a handset.
    received: Vec<Value>,
    /// Every create call that was read.
    creates: Vec<Value>,
    /// Every message, both ways.
    messages: Vec<Value>,
    /// The SIDs of messages of which a callback was not taken.
    untold: Vec<String>,
}

impl Twilio {
    async fn ask(stack: &Stack) -> Self {
        let base = &stack.info.twilio_api_url;
        let read = async |url: String| {
            let get = request("GET", &url).basic_auth(&stack.info.account_sid, Some(&stack.info.auth_token));
            exchange(get).await.json()
        };
        let list = async |path: &str| match read(format!("{base}/simulator/{path}")).await {
            Value::Array(items) => items,
            other => panic!("{path}: {other:#}"),
        };
        let mut messages = Vec::new();
        let first = format!("/2010-04-01/Accounts/{}/Messages.json?PageSize=1000", stack.info.account_sid);
        let mut next = Some(first);
        while let Some(path) = next {
            let page = read(format!("{base}{path}")).await;
            messages.extend(page["messages"].as_array().unwrap().iter().cloned());
            next = page["next_page_uri"].as_str().map(str::to_owned);
        }
        let failed = list("webhooks").await.into_iter().filter(|call| call["delivered"] == false);
        let sid = |call: Value| {
            let form = call["form"].as_array()?.iter().find(|pair| pair[0] == "MessageSid")?[1].clone();
            form.as_str().map(str::to_owned)
        };
        Self {
            received: list("ledger").await,
            creates: list("creates").await,
            messages,
            untold: failed.filter_map(sid).collect(),
        }
    }
}

/// What came of it all, for people.
#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub intents: usize,
    pub receipts: usize,
    pub duplicates: usize,
    pub delivered: usize,
    pub undelivered: usize,
    pub failed: usize,
    pub unknown: usize,
    pub untold: usize,
    pub creates: usize,
    pub faults: usize,
    pub inbound: usize,
    pub stops: usize,
    /// Calls that arrived after a STOP for a reason that [`Loose`] names.
    pub loose: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { intents, receipts, duplicates, delivered, undelivered, failed, .. } = self;
        let Self { unknown, untold, creates, faults, inbound, stops, loose, .. } = self;
        write!(
            f,
            "messages={intents} creates={creates} faults_met={faults} receipts={receipts} duplicates={duplicates} \
             delivered={delivered} undelivered={undelivered} failed={failed} unknown={unknown} untold={untold} \
             inbound={inbound} stops={stops} \
             loose_calls={loose}"
        )
    }
}

/// What a text is known by on both sides: its letters and digits, which Smart Encoding leaves alone or replaces as we do.
fn letters(body: &str) -> String {
    SmartEncoding::plainest(body).chars().filter(char::is_ascii_alphanumeric).collect()
}

/// [`letters`] of the body of a message, a create, or a received text.
fn letters_of(entry: &Value) -> String {
    letters(entry["body"].as_str().unwrap_or_default())
}

/// Waits until nothing moves any more. What is `unknown` may stay so.
pub async fn quiet(stack: &Stack, patience: Duration) {
    rest(stack, patience, false).await;
}

/// Waits until nothing moves any more, and what was unknown, untold or missing was found in Twilio's lists, or sent again.
pub async fn resolved(stack: &Stack, patience: Duration) {
    rest(stack, patience, true).await;
}

async fn rest(stack: &Stack, patience: Duration, is_resolved: bool) {
    let sql = stack.sql().await;
    // What Twilio never reported on stays on its way: `judge` asks whether it may.
    let moving = "select
        (select count(*) from sms_messages where delivery_status = 'pending') as pending,
        (select count(*) from sms_messages where claimed_at is not null) as claims,
        (select count(*) from sms_send_attempts where outcome is null) as attempts,
        (select count(*) from webhook_spool) as spooled,
        (select count(*) from sms_messages where delivery_status = 'unknown' and $1) as unknown";
    let begun = Instant::now();
    let mut quiet_since = None;
    loop {
        let row = sql.row(moving, &[&is_resolved]).await;
        let counts: [i64; 5] = [0, 1, 2, 3, 4].map(|position| row.get(position));
        let queued = stack.queued().await;
        let still = counts == [0; 5] && queued.is_empty();
        let travelling = if still { travelling(stack, &sql, is_resolved).await } else { 0 };
        if still && travelling == 0 {
            // A function that has just put something on a queue would be seen a moment later.
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() > Duration::from_millis(500) {
                return;
            }
        } else {
            quiet_since = None;
        }
        if begun.elapsed() >= patience {
            panic!(
                "not quiet after {} s: pending, claims, attempts, spooled, unknown {counts:?}, queues {queued:?}, \
                 {travelling} messages on their way at Twilio or not known as Twilio knows them\n{}",
                patience.as_secs(),
                restless(&sql).await
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The messages that do not come to rest, with their attempts, for whoever has to find out why.
async fn restless(sql: &Sql) -> String {
    let rows = "select jsonb_build_object('id', m.id, 'status', m.delivery_status, 'sid', m.twilio_sid,
            'claimed_at', m.claimed_at, 'next_attempt_at', m.next_attempt_at, 'resolve_at', m.resolve_at,
            'parked_at', m.parked_at, 'attempts', (select jsonb_agg(to_jsonb(a) - 'message_id' order by a.number)
                from sms_send_attempts a where a.message_id = m.id))::text
        from sms_messages m
        where m.delivery_status in ('pending', 'unknown') or m.claimed_at is not null limit 10";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// How many messages Twilio itself has not brought to an end, or, if wanted, the database does not know as Twilio does.
async fn travelling(stack: &Stack, sql: &Sql, is_resolved: bool) -> usize {
    let twilio = Twilio::ask(stack).await;
    let lasting = sent_only(&twilio.creates);
    let moves = |message: &&Value| {
        let status = message["status"].as_str().unwrap_or_default();
        matches!(status, "accepted" | "scheduled" | "queued" | "sending")
            || (status == "sent" && !lasting.contains(&letters_of(message)))
    };
    let moving = twilio.messages.iter().filter(moves).count();
    if is_resolved { moving + unreconciled(&twilio, sql).await } else { moving }
}

/// How many of Twilio's inbound messages are missing, and how many outbound ones have a status that Twilio has left.
async fn unreconciled(twilio: &Twilio, sql: &Sql) -> usize {
    let rows = "select twilio_sid, direction, delivery_status from sms_messages where twilio_sid is not null";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    let known: HashMap<&str, (&str, &str)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    let differs = |message: &&Value| {
        let of = |key: &str| message[key].as_str().unwrap_or_default();
        match (of("direction"), known.get(of("sid"))) {
            ("inbound", row) => row.is_none(),
            (_, Some((_, "queued" | "sending" | "sent"))) => of("status") != "sent",
            // Another create of the same message may have taken its place.
            _ => false,
        }
    };
    twilio.messages.iter().filter(differs).count()
}

/// The bodies of messages on whose delivery nobody will ever report.
fn sent_only(creates: &[Value]) -> std::collections::HashSet<String> {
    let silent = creates.iter().filter(|create| create["fault"]["kind"] == "sent_only");
    silent.map(letters_of).collect()
}

/// Compares both sides, and fails with everything that is not as promised.
pub async fn judge(stack: &Stack, intents: &[Intent], terms: Terms) -> Figures {
    let (twilio, sql) = (Twilio::ask(stack).await, stack.sql().await);
    let mut wrong = Vec::new();
    let mut figures = Figures { intents: intents.len(), creates: twilio.creates.len(), ..Figures::default() };
    figures.faults = twilio.creates.iter().filter(|create| !create["fault"].is_null()).count();
    judge_sends(&twilio, &sql, (intents, &terms), &mut figures, &mut wrong).await;
    judge_stops(&twilio, &sql, &terms, &mut figures, &mut wrong).await;
    judge_inbound(&twilio, &sql, &terms, &mut figures, &mut wrong).await;
    judge_leftovers(&sql, &mut wrong).await;
    assert!(wrong.is_empty(), "{figures}\n{}", wrong.join("\n"));
    figures
}

async fn judge_sends(
    twilio: &Twilio,
    sql: &Sql,
    (intents, terms): (&[Intent], &Terms),
    figures: &mut Figures,
    wrong: &mut Vec<String>,
) {
    let mut copies: HashMap<(&str, String), usize> = HashMap::new();
    for received in twilio.received.iter().filter(|received| received["kind"] == "message") {
        let handset = received["handset"].as_str().unwrap_or_default();
        *copies.entry((handset, letters_of(received))).or_default() += 1;
    }
    let rows = sql.client.query("select id::text, delivery_status, error_code, twilio_sid from sms_messages where direction = 'outbound'", &[]);
    let rows = rows.await.unwrap();
    let rows: HashMap<String, _> = rows.iter().map(|row| (row.get::<_, String>(0), row)).collect();
    let silent = sent_only(&twilio.creates);
    for intent in intents {
        let got = copies.remove(&(intent.to.as_str(), letters(&intent.body))).unwrap_or(0);
        figures.receipts += got;
        if got > 1 {
            figures.duplicates += 1;
            wrong.push(format!("{intent:?}: its handset got it {got} times"));
        }
        let Some(row) = rows.get(&intent.id) else {
            wrong.push(format!("{intent:?}: it was accepted and is not in the database"));
            continue;
        };
        let (status, code): (&str, Option<&str>) = (row.get(1), row.get(2));
        let has_it = got > 0;
        let is_true = match status {
            "delivered" | "read" => {
                figures.delivered += 1;
                has_it
            }
            "undelivered" => {
                figures.undelivered += 1;
                !has_it
            }
            "failed" | "canceled" => {
                figures.failed += 1;
                !has_it
            }
            "unknown" => {
                figures.unknown += 1;
                !terms.is_reconciled
            }
            "queued" | "sending" | "sent" => {
                figures.untold += 1;
                (!terms.is_reconciled && may_be_untold(twilio, row.get(3)))
                    || (has_it && silent.contains(&letters(&intent.body)))
            }
            _ => false,
        };
        if !is_true {
            let sid: Option<&str> = row.get(3);
            wrong.push(format!("{intent:?}: {status} {code:?} {sid:?}, and its handset got it {got} times"));
        }
    }
    // What was not accepted may have been stored, when the connection broke at the very end: once at most, too.
    for ((handset, body), got) in copies {
        if got > 1 {
            figures.duplicates += 1;
            wrong.push(format!("{handset} got {body:?} {got} times"));
        }
    }
}

/// Whether Twilio has never been able to tell what became of a message.
fn may_be_untold(twilio: &Twilio, sid: Option<&str>) -> bool {
    let Some(message) = twilio.messages.iter().find(|message| message["sid"].as_str() == sid) else {
        return false;
    };
    let lost = twilio.creates.iter().filter(|create| letters_of(create) == letters_of(message));
    lost.map(|create| &create["fault"])
        .any(|fault| fault["mode"] == "lost" || fault["callbacks"]["mode"] == "lost")
        || twilio.untold.iter().any(|untold| Some(untold.as_str()) == sid)
}

/// The times at which a handset's STOP is in force: from a commit to the next one.
async fn judge_stops(
    twilio: &Twilio,
    sql: &Sql,
    terms: &Terms,
    figures: &mut Figures,
    wrong: &mut Vec<String>,
) {
    let events = "select c.phone_number_canonical, e.action, e.created_at, pg_xact_commit_timestamp(e.xmin)
        from sms_opt_out_events e join sms_conversations c on c.id = e.conversation_id order by 4, e.id";
    let mut stops: HashMap<String, Vec<(Timestamp, bool)>> = HashMap::new();
    let mut latest: HashMap<String, Timestamp> = HashMap::new();
    for row in sql.client.query(events, &[]).await.unwrap() {
        let (handset, said, committed): (String, Timestamp, Timestamp) = (row.get(0), row.get(2), row.get(3));
        let is_out = row.get::<_, &str>(1) == "opt_out";
        figures.stops += usize::from(is_out);
        // The latest word counts, whatever the order in which they became known.
        if latest.get(&handset).is_none_or(|latest| *latest <= said) {
            latest.insert(handset.clone(), said);
            stops.entry(handset).or_default().push((committed, is_out));
        }
    }
    for create in &twilio.creates {
        let handset = create["to"].as_str().unwrap_or_default();
        let at: Timestamp = create["at"].as_str().unwrap_or_default().parse().unwrap();
        let known = stops.get(handset).map_or(&[][..], Vec::as_slice);
        let Some((committed, true)) = known.iter().take_while(|(committed, _)| *committed < at).last() else {
            continue;
        };
        if let Some(loose) = terms.loose.iter().find(|loose| loose.explains(*committed, at)) {
            figures.loose += 1;
            let Loose { what, from, until } = loose;
            eprintln!(
                "a call of {at}, after a STOP of {committed}, was cut loose by {what}, {from} to {until}"
            );
            continue;
        }
        wrong.push(format!("{handset}: a create call arrived {at}, after the STOP of {committed}: {create}"));
    }
}

async fn judge_inbound(
    twilio: &Twilio,
    sql: &Sql,
    terms: &Terms,
    figures: &mut Figures,
    wrong: &mut Vec<String>,
) {
    let rows = "select twilio_sid, message_content, from_number, c.phone_number_canonical
        from sms_messages m join sms_conversations c on c.id = m.conversation_id where direction = 'inbound'";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    let stored: HashMap<String, _> = rows.iter().map(|row| (row.get::<_, String>(0), row)).collect();
    for message in twilio.messages.iter().filter(|message| message["direction"] == "inbound") {
        // A webhook that nobody answered with a 2xx was not accepted, and waits for the comparison with Twilio.
        if !message["error_code"].is_null() && !terms.is_reconciled {
            continue;
        }
        figures.inbound += 1;
        let of = |key: &str| message[key].as_str().unwrap_or_default();
        match stored.get(of("sid")) {
            None => wrong.push(format!("an accepted text is not in the database: {message}")),
            Some(row) => {
                let kept: [&str; 3] = [1, 2, 3].map(|position| row.get(position));
                if kept != [of("body"), of("from"), of("from")] {
                    wrong.push(format!("{kept:?} is in the database for {message}"));
                }
            }
        }
    }
}

async fn judge_leftovers(sql: &Sql, wrong: &mut Vec<String>) {
    let none = [
        ("claims", "select count(*) from sms_messages where claimed_at is not null".to_owned()),
        ("open attempts", "select count(*) from sms_send_attempts where outcome is null".to_owned()),
        ("spooled webhooks", "select count(*) from webhook_spool".to_owned()),
        (
            "messages that move without a SID",
            format!(
                "select count(*) from sms_messages where direction = 'outbound' and twilio_sid is null \
                 and delivery_status not in {ENDED}"
            ),
        ),
        (
            "conversations that count wrongly",
            "select count(*) from sms_conversations c where message_count <> (select count(*) from sms_messages m where m.conversation_id = c.id)".to_owned(),
        ),
        (
            "messages with two accepted attempts that were not told apart",
            "select count(*) from (select twilio_sid from sms_send_attempts where twilio_sid is not null \
             group by twilio_sid having count(*) > 1) t"
                .to_owned(),
        ),
    ];
    for (what, count) in none {
        let count = sql.count(&count, &[]).await;
        if count > 0 {
            wrong.push(format!("{count} {what} are left"));
        }
    }
}
