//! Imports of consent that race with each other and with inbound messages, and their order.

use crate::{inbound, now};
use common::clock::new_id;
use common::db::Db;
use common::db::consent::{self, Consent, ImportOutcome, StatedConsent};
use common::db::inbound::{NewInbound, OptOutChange, store};
use common::domain::opt_out::{ConsentScope, OptOutAction, OptOutSource};
use common::domain::phone::{NumberingPlan, Region};
use common::domain::sids::AccountSid;
use jiff::ToSpan;
use testing::Database;
use uuid::Uuid;

/// The number of numbers in a race.
const NUMBERS: usize = 200;

fn account() -> AccountSid {
    "AC1".parse().unwrap()
}

/// Returns the key of the caller.
fn key() -> Uuid {
    testing::KEY_ID.parse().unwrap()
}

fn number(n: usize) -> String {
    format!("+1860555{n:04}")
}

fn row(plan: &NumberingPlan, number: &str, action: OptOutAction, evidence: &str) -> StatedConsent {
    StatedConsent {
        variants: plan.lookup_variants(number),
        recipient: plan.recipient(number).ok(),
        consent: Consent {
            action,
            scope: ConsentScope::All,
            source: "paper".to_owned(),
            evidence: evidence.to_owned(),
            api_key_id: key(),
        },
    }
}

/// Returns opt-outs of different numbers.
fn opt_outs(evidence: &str) -> Vec<StatedConsent> {
    let plan = NumberingPlan::load(Region::US).unwrap();
    (0..NUMBERS).map(|n| row(&plan, &number(n), OptOutAction::OptOut, evidence)).collect()
}

async fn import(db: &Db, rows: &[StatedConsent]) -> Vec<ImportOutcome> {
    let rows: Vec<&StatedConsent> = rows.iter().collect();
    consent::import(db, &account(), &rows, now()).await.unwrap()
}

/// Returns how many rows were imported.
fn imported(outcomes: &[ImportOutcome]) -> usize {
    assert!(!outcomes.contains(&ImportOutcome::UnknownNumber));
    outcomes.iter().filter(|outcome| **outcome == ImportOutcome::Imported).count()
}

/// An inbound STOP.
fn stop(n: usize) -> NewInbound {
    let mut message = inbound(&format!("SM{n}"), &number(n));
    message.opt_out = Some(OptOutChange {
        action: OptOutAction::OptOut,
        source: OptOutSource::Keyword,
        words: Some("STOP".to_owned()),
    });
    message
}

async fn deadlocks(database: &Database) -> String {
    database.scalar("select deadlocks from pg_stat_database where datname = current_database()").await
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_of_the_same_new_numbers_in_opposite_order_do_not_deadlock_and_import_each_row_once() {
    let database = Database::create().await;
    let runs = (0..4).map(|run| {
        let db = database.db();
        tokio::spawn(async move {
            let mut rows = opt_outs("scan 1");
            if run % 2 == 1 {
                rows.reverse();
            }
            let outcomes = import(&db, &rows).await;
            assert_eq!(outcomes.len(), NUMBERS);
            imported(&outcomes)
        })
    });
    let mut total = 0;
    for run in runs.collect::<Vec<_>>() {
        total += run.await.unwrap();
    }
    assert_eq!(total, NUMBERS);
    for sql in [
        "select count(*) from sms_opt_out_events",
        "select count(*) from sms_conversations where opted_out_at is not null",
        "select count(*) from sms_events_pending where event_type = 'contact.opted_out'",
        "select count(*) from sms_events_pending",
    ] {
        assert_eq!(database.scalar(sql).await, NUMBERS.to_string(), "{sql}");
    }
    assert_eq!(deadlocks(&database).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_and_inbound_stops_of_the_same_numbers_do_not_deadlock_and_report_each_change_once() {
    let database = Database::create().await;
    let imports = (0..4).map(|run| {
        let db = database.db();
        tokio::spawn(async move {
            let mut rows = opt_outs(&format!("scan {run}"));
            if run % 2 == 1 {
                rows.reverse();
            }
            imported(&import(&db, &rows).await)
        })
    });
    let imports: Vec<_> = imports.collect();
    let db = database.db();
    let stops = tokio::spawn(async move {
        let numbers: Vec<usize> = (0..NUMBERS).rev().collect();
        for numbers in numbers.chunks(10) {
            let messages: Vec<NewInbound> = numbers.iter().map(|n| stop(*n)).collect();
            store(&db, &messages).await.unwrap();
        }
    });
    for import in imports {
        assert_eq!(import.await.unwrap(), NUMBERS);
    }
    stops.await.unwrap();
    let entries = (5 * NUMBERS).to_string();
    assert_eq!(database.scalar("select count(*) from sms_opt_out_events").await, entries);
    let events = "select count(*) from sms_events_pending where event_type = 'contact.opted_out'";
    assert_eq!(database.scalar(events).await, NUMBERS.to_string());
    assert_eq!(deadlocks(&database).await, "0");
}

#[tokio::test]
async fn rows_of_a_number_apply_in_their_order_and_change_nothing_when_they_are_repeated() {
    let (opt_out, opt_in) = (OptOutAction::OptOut, OptOutAction::OptIn);
    let database = Database::create().await;
    let (db, plan) = (database.db(), NumberingPlan::load(Region::US).unwrap());
    let (first, second) = (number(1), number(2));
    let rows = [
        row(&plan, &first, opt_out, "scan 1"),
        row(&plan, &second, opt_in, "scan 2"),
        row(&plan, &first, opt_in, "scan 3"),
        row(&plan, &first, opt_in, "scan 3"),
        row(&plan, &first, opt_out, "scan 1"),
    ];
    assert_eq!(imported(&import(&db, &rows).await), 4);
    let state = "select string_agg(concat_ws(' ', phone_number_canonical, opted_out_at is not null), ', '
        order by phone_number_canonical) from sms_conversations";
    assert_eq!(database.scalar(state).await, format!("{first} t, {second} f"));
    let events = "select string_agg(event_type, ' ' order by number) from sms_events_pending";
    let changes = "contact.opted_out contact.opted_in contact.opted_out";
    assert_eq!(database.scalar(events).await, changes);

    assert_eq!(import(&db, &rows).await, [ImportOutcome::Unchanged; 5]);
    assert_eq!(database.scalar(events).await, changes);
    let ledger = consent::ledger(&db, &account(), &[first], 10).await.unwrap().unwrap();
    let entries: Vec<_> = ledger.entries.iter().map(|e| (e.action, e.evidence.as_str())).collect();
    assert_eq!(entries, [(opt_out, "scan 1"), (opt_in, "scan 3"), (opt_out, "scan 1")]);
    assert!(ledger.entries.iter().all(|entry| entry.recorded_by == Some(key())));
}

#[tokio::test]
async fn an_import_that_is_repeated_after_a_stop_does_not_end_it() {
    let (opt_out, opt_in) = (OptOutAction::OptOut, OptOutAction::OptIn);
    let database = Database::create().await;
    let (db, plan) = (database.db(), NumberingPlan::load(Region::US).unwrap());
    let rows = [
        row(&plan, &number(1), opt_in, "scan 1"),
        row(&plan, &number(2), opt_out, "scan 2"),
        row(&plan, &number(2), opt_in, "scan 3"),
    ];
    assert_eq!(imported(&import(&db, &rows).await), 3);
    let later = |n| NewInbound { received_at: now() + 1.minute(), ..stop(n) };
    store(&db, &[later(1), later(2)]).await.unwrap();
    let opted_out = "select string_agg((opted_out_at is not null)::text, ' ') from sms_conversations";
    let entries = "select count(*) from sms_opt_out_events";
    assert_eq!(
        (database.scalar(opted_out).await, database.scalar(entries).await),
        ("true true".into(), "5".into())
    );
    assert_eq!(import(&db, &rows).await, [ImportOutcome::Unchanged; 3]);
    // The rows of a number may be in another file, too.
    let mixed = [row(&plan, &number(2), opt_out, "scan 4"), row(&plan, &number(2), opt_in, "scan 3")];
    assert_eq!(import(&db, &mixed).await, [ImportOutcome::Imported, ImportOutcome::Unchanged]);
    assert_eq!(database.scalar(opted_out).await, "true true");
    // New evidence counts, and the same opt-out is recorded again after it.
    let new = [row(&plan, &number(2), opt_in, "scan 5")];
    assert_eq!(imported(&import(&db, &new).await), 1);
    assert_eq!(database.scalar(opted_out).await.matches("true").count(), 1);
    let again = [row(&plan, &number(2), opt_out, "scan 2")];
    assert_eq!(imported(&import(&db, &again).await), 1);
    assert_eq!(database.scalar(opted_out).await, "true true");
}

#[tokio::test]
async fn a_row_is_newer_than_an_entry_with_a_later_clock_and_follows_what_was_recorded_alone() {
    let database = Database::create().await;
    let (db, plan) = (database.db(), NumberingPlan::load(Region::US).unwrap());
    let number = number(1);
    let alone = row(&plan, &number, OptOutAction::OptIn, "scan 1");
    let variants = plan.lookup_variants(&number);
    let recipient = plan.recipient(&number).ok();
    consent::record(&db, &account(), &variants, recipient, &alone.consent, now()).await.unwrap();
    // Its id is greater than all others.
    let later = "update sms_opt_out_events
        set id = 'ffffffff-ffff-7fff-bfff-ffffffffffff', created_at = created_at + interval '1 minute'";
    database.client.batch_execute(later).await.unwrap();
    assert_eq!(import(&db, &[alone]).await, [ImportOutcome::Unchanged]);
    let row = row(&plan, &number, OptOutAction::OptOut, &new_id().to_string());
    assert_eq!(import(&db, &[row]).await, [ImportOutcome::Imported]);
    assert_eq!(database.scalar("select opted_out_at is not null from sms_conversations").await, "t");
}

#[tokio::test]
async fn a_row_without_conversation_and_recipient_is_reported_and_the_others_are_imported() {
    let database = Database::create().await;
    let (db, plan) = (database.db(), NumberingPlan::load(Region::US).unwrap());
    let rows = [
        row(&plan, "12345", OptOutAction::OptOut, "scan 1"),
        row(&plan, &number(1), OptOutAction::OptOut, "scan 1"),
    ];
    let expected = [ImportOutcome::UnknownNumber, ImportOutcome::Imported];
    assert_eq!(import(&db, &rows).await, expected);
    assert_eq!(database.scalar("select count(*) from sms_conversations").await, "1");
    assert_eq!(import(&db, &[]).await, []);
}
