use super::*;

const PACE: SenderPace = SenderPace {
    segments: Pace { rate: 10.0, burst: 30.0, bulk_burst: 15.0 },
    mms: Some(Pace { rate: 0.5, burst: 2.0, bulk_burst: 1.0 }),
    per_day: None,
};

fn now() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

fn limits() -> Limits {
    Limits {
        messages: 20,
        hold: Duration::from_secs(300),
        horizon: Duration::from_secs(90),
        day_ends_at: tonight(),
    }
}

fn tonight() -> Timestamp {
    after(43_200.0)
}

fn after(seconds: f64) -> Timestamp {
    now() + duration(seconds)
}

fn idle() -> SenderState {
    SenderState {
        ready_at: None,
        mms_ready_at: None,
        day: Day::default(),
        held_until: None,
        held_reason: None,
        wake_at: None,
    }
}

fn held(seconds: f64) -> SenderState {
    let until = if seconds < 0.0 { now() - duration(-seconds) } else { after(seconds) };
    SenderState { held_until: Some(until), held_reason: Some(HoldReason::Limited), ..idle() }
}

/// A due message, identified by its number.
fn due(number: u128, priority: Priority, segments: i32) -> Waiting {
    Waiting {
        message_id: uuid::Uuid::from_u128(number).into(),
        priority,
        segments,
        is_mms: false,
        due_at: now(),
        is_locked: true,
        opted_out: false,
        expires_at: after(3600.0),
    }
}

fn numbers(ids: &[MessageId]) -> Vec<u128> {
    ids.iter().map(|id| id.to_string().parse::<uuid::Uuid>().unwrap().as_u128()).collect()
}

fn planned(state: &SenderState, waiting: &[Waiting]) -> Plan {
    plan(state, &PACE, waiting, &limits(), now())
}

#[test]
fn urgent_messages_go_first_and_bulk_leaves_half_of_the_burst() {
    let waiting = [
        due(1, Priority::Bulk, 10),
        due(2, Priority::Bulk, 10),
        due(3, Priority::Normal, 1),
        due(4, Priority::Urgent, 1),
    ];
    let plan = planned(&idle(), &waiting);
    assert_eq!(numbers(&plan.taken), [4, 3, 1]);
    assert_eq!(plan.sender.ready_at, Some(after(1.2)));
    // 12 segments wait at Twilio. The 10 of the next one exceed the 15 for bulk messages by 7: 0.7 s.
    assert_eq!((plan.wake_in, plan.sender.wake_at), (Some(duration(0.7)), Some(after(1.0))));
}

#[test]
fn the_backlog_of_earlier_claims_counts() {
    let busy = SenderState { ready_at: Some(after(2.9)), ..idle() };
    let waiting = [due(1, Priority::Normal, 1), due(2, Priority::Normal, 1)];
    assert_eq!(numbers(&planned(&busy, &waiting).taken), [1]);
    let full = SenderState { ready_at: Some(after(3.0)), ..idle() };
    let plan = planned(&full, &waiting);
    assert_eq!((plan.taken.len(), plan.wake_in), (0, Some(duration(0.1))));
    let long_ago = SenderState { ready_at: Some(now() - duration(3600.0)), ..idle() };
    assert_eq!(planned(&long_ago, &waiting).sender.ready_at, Some(after(0.2)));
}

#[test]
fn a_message_longer_than_the_burst_goes_alone() {
    let waiting = [due(1, Priority::Normal, 50), due(2, Priority::Normal, 1)];
    let plan = planned(&idle(), &waiting);
    assert_eq!(numbers(&plan.taken), [1]);
    assert_eq!(plan.wake_in, Some(duration(2.1)));
    let busy = SenderState { ready_at: Some(after(0.1)), ..idle() };
    assert!(planned(&busy, &waiting).taken.is_empty());
}

#[test]
fn a_more_urgent_message_that_does_not_fit_is_not_overtaken() {
    let busy = SenderState { ready_at: Some(after(2.0)), ..idle() };
    let waiting = [due(1, Priority::Urgent, 20), due(2, Priority::Normal, 1)];
    let plan = planned(&busy, &waiting);
    assert_eq!((plan.taken.len(), plan.wake_in), (0, Some(duration(1.0))));
}

#[test]
fn at_most_the_limit_is_taken_and_the_rest_is_woken_at_once() {
    let waiting: Vec<_> = (0..25).map(|number| due(number, Priority::Normal, 1)).collect();
    let plan = planned(&idle(), &waiting);
    assert_eq!(plan.taken.len(), 20);
    assert_eq!((plan.wake_in, plan.sender.wake_at), (Some(Duration::ZERO), Some(after(1.0))));
}

#[test]
fn refused_messages_end_the_plan_after_their_priority() {
    let waiting = [
        Waiting { opted_out: true, ..due(1, Priority::Urgent, 1) },
        Waiting { expires_at: now(), ..due(2, Priority::Urgent, 1) },
        due(3, Priority::Urgent, 1),
        due(4, Priority::Normal, 1),
    ];
    let plan = planned(&idle(), &waiting);
    assert_eq!(numbers(&plan.taken), [3]);
    let refused: Vec<_> = plan.refused.iter().map(|(id, why)| (numbers(&[*id])[0], why.as_str())).collect();
    assert_eq!(refused, [(1, "opted_out"), (2, "retries_exhausted")]);
    assert_eq!(plan.wake_in, Some(Duration::ZERO));
}

#[test]
fn a_held_sender_sends_nothing_and_then_one_probe() {
    let waiting = [due(1, Priority::Urgent, 1), due(2, Priority::Urgent, 1)];
    let plan = planned(&held(60.0), &waiting);
    assert_eq!((plan.taken.len(), plan.wake_in), (0, Some(duration(60.0))));

    let plan = planned(&held(-1.0), &waiting);
    assert_eq!(numbers(&plan.taken), [1]);
    assert_eq!(plan.sender.held_until, Some(after(30.0)), "until the outcome of the probe");
    assert_eq!(plan.wake_in, Some(duration(30.0)));
    let broken = SenderState { held_reason: Some(HoldReason::Configuration), ..held(-1.0) };
    assert_eq!(planned(&broken, &waiting).sender.held_until, Some(after(300.0)));
    assert_eq!(planned(&held(-1.0), &[]).sender, held_without_messages());
}

fn held_without_messages() -> SenderState {
    let day = Day { ends_at: Some(tonight()), ..Day::default() };
    SenderState { ready_at: Some(now()), mms_ready_at: Some(now()), day, ..held(-1.0) }
}

#[test]
fn a_message_that_another_function_changes_is_tried_again_after_a_second() {
    let changed = Waiting { is_locked: false, ..due(1, Priority::Normal, 1) };
    let plan = planned(&idle(), std::slice::from_ref(&changed));
    assert_eq!((plan.taken.len(), plan.wake_in), (0, Some(SECOND)));
    let plan = planned(&idle(), &[due(2, Priority::Normal, 1), changed]);
    assert_eq!((numbers(&plan.taken), plan.wake_in), (vec![2], Some(Duration::ZERO)));
}

#[test]
fn the_next_message_gets_a_wake_up_within_the_horizon_unless_an_earlier_one_is_queued() {
    let later = |seconds| Waiting { is_locked: false, due_at: after(seconds), ..due(1, Priority::Bulk, 1) };
    let woken = |state: &SenderState, waiting: &[Waiting]| planned(state, waiting).wake_in;
    assert_eq!(woken(&idle(), &[later(60.0)]), Some(duration(60.0)));
    assert_eq!(woken(&idle(), &[later(91.0)]), None);
    assert_eq!(woken(&idle(), &[]), None);
    let queued = |seconds| SenderState { wake_at: Some(after(seconds)), ..idle() };
    assert_eq!(woken(&queued(60.0), &[later(60.0)]), None);
    assert_eq!(woken(&queued(61.0), &[later(60.0)]), Some(duration(60.0)));
    assert_eq!(planned(&queued(50.0), &[later(60.0)]).sender.wake_at, Some(after(50.0)));
}

fn mms(number: u128, priority: Priority) -> Waiting {
    Waiting { is_mms: true, ..due(number, priority, 3) }
}

#[test]
fn mms_have_their_own_pace_and_neither_wait_for_sms_nor_delay_them() {
    let waiting = [
        mms(1, Priority::Normal),
        mms(2, Priority::Normal),
        mms(3, Priority::Normal),
        due(4, Priority::Normal, 1),
        mms(5, Priority::Bulk),
        due(6, Priority::Bulk, 1),
    ];
    let plan = planned(&idle(), &waiting);
    assert_eq!(numbers(&plan.taken), [1, 2, 4, 6]);
    assert_eq!(plan.sender.mms_ready_at, Some(after(4.0)));
    assert_eq!(plan.sender.ready_at, Some(after(0.2)));
    assert_eq!(plan.wake_in, Some(duration(2.0)), "the third MMS");

    let full = SenderState { ready_at: Some(after(3.0)), ..idle() };
    assert_eq!(numbers(&planned(&full, &waiting).taken), [1, 2]);
}

#[test]
fn the_next_wake_up_is_for_the_lane_that_is_free_first() {
    let busy = SenderState { ready_at: Some(after(3.0)), mms_ready_at: Some(after(60.0)), ..idle() };
    let waiting = [mms(1, Priority::Urgent), due(2, Priority::Bulk, 1)];
    let plan = planned(&busy, &waiting);
    assert_eq!((plan.taken.len(), plan.wake_in), (0, Some(duration(1.6))), "16 segments of 15 for bulk");
}

#[test]
fn mms_without_a_rate_of_their_own_count_as_their_segments() {
    let pace = SenderPace { mms: None, ..PACE };
    let waiting = [mms(1, Priority::Normal), due(2, Priority::Normal, 1)];
    let plan = plan(&idle(), &pace, &waiting, &limits(), now());
    assert_eq!((numbers(&plan.taken), plan.sender.ready_at), (vec![1, 2], Some(after(0.4))));
    assert_eq!(plan.sender.mms_ready_at, None);
}

/// Plans for a sender with a daily limit of four segments that has sent some of them.
fn planned_in_day(day: Day, waiting: &[Waiting]) -> Plan {
    let pace = SenderPace { per_day: Some(4), ..PACE };
    plan(&SenderState { day, ..idle() }, &pace, waiting, &limits(), now())
}

fn sent(number: i32) -> Day {
    Day { ends_at: Some(tonight()), sent: number, full_until: None }
}

#[test]
fn messages_beyond_the_daily_limit_wait_for_the_next_day_and_are_not_overtaken() {
    let waiting = [
        due(1, Priority::Bulk, 1),
        due(2, Priority::Normal, 2),
        mms(3, Priority::Urgent),
        due(4, Priority::Urgent, 1),
    ];
    let plan = planned_in_day(sent(1), &waiting);
    assert_eq!(numbers(&plan.taken), [3, 4], "an MMS counts as one segment");
    assert_eq!(plan.sender.day, Day { sent: 3, full_until: Some(tonight()), ..sent(3) });
    assert!(plan.day_filled);
    assert_eq!((plan.wake_in, plan.sender.wake_at), (None, None), "beyond the horizon");

    let full = plan.sender.day;
    let again = planned_in_day(full, &waiting[..2]);
    assert_eq!((again.taken.len(), again.day_filled, again.sender.day), (0, false, full));
    let soon = Day { ends_at: Some(after(60.0)), ..full };
    assert_eq!(planned_in_day(soon, &waiting[..2]).wake_in, Some(duration(60.0)));
}

#[test]
fn the_next_day_begins_empty_with_the_most_urgent_message() {
    let over = Day { ends_at: Some(now()), sent: 4, full_until: Some(now()) };
    let plan = planned_in_day(over, &[due(1, Priority::Bulk, 1), due(2, Priority::Urgent, 3)]);
    assert_eq!(numbers(&plan.taken), [2, 1]);
    assert_eq!((plan.sender.day, plan.day_filled), (sent(4), false));
}

#[test]
fn a_day_is_full_only_if_a_message_waits_and_a_higher_limit_ends_the_wait() {
    assert_eq!(planned_in_day(sent(3), &[due(1, Priority::Normal, 1)]).sender.day, sent(4));
    let full = Day { full_until: Some(tonight()), ..sent(4) };
    assert_eq!(planned_in_day(full, &[]).sender.day, sent(4));
    let unlimited =
        plan(&SenderState { day: full, ..idle() }, &PACE, &[due(1, Priority::Normal, 1)], &limits(), now());
    assert_eq!((unlimited.taken.len(), unlimited.sender.day), (1, sent(5)));
}

#[test]
fn a_message_longer_than_the_daily_limit_goes_if_nothing_was_sent() {
    let long = [due(1, Priority::Normal, 5)];
    assert_eq!(planned_in_day(Day::default(), &long).sender.day, sent(5));
    assert!(planned_in_day(sent(1), &long).taken.is_empty());
}

#[test]
fn an_expired_message_fails_while_the_day_is_full() {
    let waiting = [Waiting { expires_at: now(), ..due(1, Priority::Normal, 1) }, due(2, Priority::Normal, 1)];
    let plan = planned_in_day(sent(4), &waiting);
    assert_eq!((plan.refused.len(), plan.taken.len()), (1, 0));
    assert_eq!(plan.sender.day.full_until, Some(tonight()));
}
