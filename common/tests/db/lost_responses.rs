//! The response to a commit is lost: the connection closes after Postgres has committed.

use crate::now;
use crate::sends::new_send;
use common::db::sends::{self, ClaimRequest, SendPace};
use common::db::{DatabaseConfig, Db};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use testing::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A query message that contains `commit`, in the protocol of Postgres.
const COMMIT: &[u8] = b"commit\0";

/// Forwards a connection. After the first commit of all connections, it waits for the response and closes instead.
async fn forward(mut client: TcpStream, address: String, is_lost: Arc<AtomicBool>) {
    let mut server = TcpStream::connect(address).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_committing = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Some(bytes) = read.ok().filter(|bytes| *bytes > 0) else { return };
                let sent = &from_client[..bytes];
                is_committing |= sent.windows(COMMIT.len()).any(|window| window == COMMIT)
                    && !is_lost.swap(true, Ordering::SeqCst);
                server.write_all(sent).await.unwrap();
            }
            read = server.read(&mut from_server) => {
                let Some(bytes) = read.ok().filter(|bytes| *bytes > 0) else { return };
                let received = &from_server[..bytes];
                if is_committing {
                    // The tag of a finished commit.
                    if received.windows(6).any(|window| window == b"COMMIT") {
                        return;
                    }
                } else if client.write_all(received).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Returns the database's client through a proxy that loses the response to the first commit.
async fn losing_a_commit(database: &Database) -> (Db, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = database.url();
    let (user, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let through = format!("{user}@{}/{name}", listener.local_addr().unwrap());
    let (address, is_lost) = (address.to_owned(), Arc::new(AtomicBool::new(false)));
    let shared = Arc::clone(&is_lost);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, address.clone(), Arc::clone(&shared)));
        }
    });
    (Db::new(&DatabaseConfig::for_url(&through)).unwrap(), is_lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_response_is_lost_returns_the_same_claims_when_it_is_retried() {
    let database = Database::create().await;
    let first = new_send("+12025550101");
    let second = new_send("+12025550102");
    for send in [&first, &second] {
        sends::create(&database.db(), send, None).await.unwrap();
    }
    let (db, is_lost) = losing_a_commit(&database).await;

    let request = ClaimRequest::messages(&[first.id, second.id]);
    let claims = sends::claim(&db, &request, &SendPace::default(), now()).await.unwrap();

    assert!(is_lost.load(Ordering::SeqCst));
    let mut claimed: Vec<_> = claims.claimed.iter().map(|claim| claim.message_id).collect();
    claimed.sort_unstable();
    let mut expected = vec![first.id, second.id];
    expected.sort_unstable();
    assert_eq!(claimed, expected);
    assert_eq!(database.scalar("select count(*) from sms_send_attempts").await, "2");
}
