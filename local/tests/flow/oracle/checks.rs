//! The checks of the oracle.

use std::collections::HashMap;

use jiff::Timestamp;

use super::twilio::{TwilioState, letters, letters_of, sent_only};
use super::{AcceptedSend, Expectations, Figures, UngatedPeriod};
use crate::client::Sql;

/// The final statuses, and `unknown`, which an operator sees.
const FINAL: &str = "('delivered', 'read', 'undelivered', 'failed', 'canceled', 'unknown')";

/// Checks the accepted sends against the handsets' messages.
pub(super) async fn sends(
    twilio: &TwilioState,
    sql: &Sql,
    (sends, expectations): (&[AcceptedSend], &Expectations),
    figures: &mut Figures,
    errors: &mut Vec<String>,
) {
    let mut copies: HashMap<(&str, String), usize> = HashMap::new();
    for received in twilio.received.iter().filter(|received| received["kind"] == "message") {
        let handset = received["handset"].as_str().unwrap_or_default();
        *copies.entry((handset, letters_of(received))).or_default() += 1;
    }
    let rows = "select id::text, delivery_status, error_code, twilio_sid from sms_messages
        where direction = 'outbound'";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    let rows: HashMap<String, _> = rows.iter().map(|row| (row.get::<_, String>(0), row)).collect();
    let sent_only = sent_only(&twilio.creates);
    for send in sends {
        let got = copies.remove(&(send.to.as_str(), letters(&send.body))).unwrap_or(0);
        figures.receipts += got;
        if got > 1 {
            figures.duplicates += 1;
            errors.push(format!("{send:?}: the handset received it {got} times"));
        }
        let Some(row) = rows.get(&send.id) else {
            errors.push(format!("{send:?}: accepted, but not in the database"));
            continue;
        };
        let (status, code, sid): (&str, Option<&str>, Option<&str>) = (row.get(1), row.get(2), row.get(3));
        let may_be_open = sent_only.contains(&letters(&send.body));
        // Only for the few open messages, because it reads every create call.
        let may_lack_status = || !expectations.is_reconciled && may_lack_callbacks(twilio, sid);
        let is_correct = match count_status(status, figures) {
            Kind::Delivered => got > 0,
            Kind::NotDelivered => got == 0,
            Kind::Unknown => !expectations.is_reconciled,
            Kind::Open => may_lack_status() || (got > 0 && may_be_open),
            Kind::Invalid => false,
        };
        if !is_correct {
            errors.push(format!(
                "{send:?}: {status} {code:?} {sid:?}, but the handset received it {got} times"
            ));
        }
    }
    // A send without a response may have been stored, but must not be received twice either.
    for ((handset, body), got) in copies {
        if got > 1 {
            figures.duplicates += 1;
            errors.push(format!("{handset} received {body:?} {got} times"));
        }
    }
}

/// What a status says about the delivery.
enum Kind {
    Delivered,
    NotDelivered,
    Unknown,
    Open,
    Invalid,
}

/// Adds a send to the figure of its status.
fn count_status(status: &str, figures: &mut Figures) -> Kind {
    let (figure, kind) = match status {
        "delivered" | "read" => (&mut figures.delivered, Kind::Delivered),
        "undelivered" => (&mut figures.undelivered, Kind::NotDelivered),
        "failed" | "canceled" => (&mut figures.failed, Kind::NotDelivered),
        "unknown" => (&mut figures.unknown, Kind::Unknown),
        "queued" | "sending" | "sent" => (&mut figures.unreported, Kind::Open),
        _ => return Kind::Invalid,
    };
    *figure += 1;
    kind
}

/// Returns whether callbacks of a message were lost or rejected.
fn may_lack_callbacks(twilio: &TwilioState, sid: Option<&str>) -> bool {
    let Some(message) = twilio.messages.iter().find(|message| message["sid"].as_str() == sid) else {
        return false;
    };
    let lost = twilio.creates.iter().filter(|create| letters_of(create) == letters_of(message));
    lost.map(|create| &create["fault"])
        .any(|fault| fault["mode"] == "lost" || fault["callbacks"]["mode"] == "lost")
        || twilio.with_failed_callback.iter().any(|failed| Some(failed.as_str()) == sid)
}

/// Checks that no create call arrived while a STOP was in force.
pub(super) async fn stops(
    twilio: &TwilioState,
    sql: &Sql,
    expectations: &Expectations,
    figures: &mut Figures,
    errors: &mut Vec<String>,
) {
    let events = "select c.phone_number_canonical, e.action, e.created_at, pg_xact_commit_timestamp(e.xmin)
        from sms_opt_out_events e join sms_conversations c on c.id = e.conversation_id order by 4, e.id";
    let mut stops: HashMap<String, Vec<(Timestamp, bool)>> = HashMap::new();
    let mut latest: HashMap<String, Timestamp> = HashMap::new();
    for row in sql.client.query(events, &[]).await.unwrap() {
        let (handset, created, committed): (String, Timestamp, Timestamp) =
            (row.get(0), row.get(2), row.get(3));
        let is_out = row.get::<_, &str>(1) == "opt_out";
        figures.stops += usize::from(is_out);
        // The latest event counts, whatever the order of the commits.
        if latest.get(&handset).is_none_or(|latest| *latest <= created) {
            latest.insert(handset.clone(), created);
            stops.entry(handset).or_default().push((committed, is_out));
        }
    }
    for create in &twilio.creates {
        let handset = create["to"].as_str().unwrap_or_default();
        let at: Timestamp = create["at"].as_str().unwrap_or_default().parse().unwrap();
        let events = stops.get(handset).map_or(&[][..], Vec::as_slice);
        let Some((committed, true)) = events.iter().take_while(|(committed, _)| *committed < at).last()
        else {
            continue;
        };
        if let Some(period) = expectations.ungated.iter().find(|period| period.explains(*committed, at)) {
            figures.ungated += 1;
            let UngatedPeriod { cause, from, until } = period;
            eprintln!(
                "a create call at {at} after the STOP at {committed} was unguarded because of {cause}, \
                    {from} to {until}"
            );
            continue;
        }
        errors.push(format!(
            "{handset}: a create call arrived at {at}, after the STOP at {committed}: {create}"
        ));
    }
}

/// Checks that accepted inbound messages are stored unchanged.
pub(super) async fn inbound(
    twilio: &TwilioState,
    sql: &Sql,
    expectations: &Expectations,
    figures: &mut Figures,
    errors: &mut Vec<String>,
) {
    let rows = "select twilio_sid, message_content, from_number, c.phone_number_canonical
        from sms_messages m join sms_conversations c on c.id = m.conversation_id where direction = 'inbound'";
    let rows = sql.client.query(rows, &[]).await.unwrap();
    let stored: HashMap<String, _> = rows.iter().map(|row| (row.get::<_, String>(0), row)).collect();
    for message in twilio.messages.iter().filter(|message| message["direction"] == "inbound") {
        // A webhook without a 2xx response was not accepted. Reconciliation stores its message.
        if !message["error_code"].is_null() && !expectations.is_reconciled {
            continue;
        }
        figures.inbound += 1;
        let of = |key: &str| message[key].as_str().unwrap_or_default();
        match stored.get(of("sid")) {
            None => errors.push(format!("an accepted inbound message is not in the database: {message}")),
            Some(row) => {
                let stored: [&str; 3] = [1, 2, 3].map(|position| row.get(position));
                if stored != [of("body"), of("from"), of("from")] {
                    errors.push(format!("the database has {stored:?} for {message}"));
                }
            }
        }
    }
}

/// Checks that nothing is left to process.
pub(super) async fn leftovers(sql: &Sql, errors: &mut Vec<String>) {
    let counts = [
        ("claims", "select count(*) from sms_messages where claimed_at is not null".to_owned()),
        ("open attempts", "select count(*) from sms_send_attempts where outcome is null".to_owned()),
        ("spooled webhooks", "select count(*) from webhook_spool".to_owned()),
        (
            "unfinished messages without a SID",
            format!(
                "select count(*) from sms_messages where direction = 'outbound' and twilio_sid is null \
                 and delivery_status not in {FINAL}"
            ),
        ),
        (
            "conversations with a wrong message count",
            "select count(*) from sms_conversations c \
             where message_count <> (select count(*) from sms_messages m where m.conversation_id = c.id)"
                .to_owned(),
        ),
        (
            "SIDs with more than one accepted attempt",
            "select count(*) from (select twilio_sid from sms_send_attempts where twilio_sid is not null \
             group by twilio_sid having count(*) > 1) t"
                .to_owned(),
        ),
    ];
    for (what, count) in counts {
        let count = sql.count(&count, &[]).await;
        if count > 0 {
            errors.push(format!("{count} {what}"));
        }
    }
}
