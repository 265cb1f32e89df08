-- Dates an opt-out that Twilio reported with an error code by the refused create, because a callback or a reconciliation
-- may report it late: an opt-in after that create is newer. If the create came after the opt-in after all, the next send is
-- refused again. The evidence is the id of the attempt or its SID.
create or replace function sms_date_refusal() returns trigger language plpgsql as $$
begin
    if new.evidence ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
        new.created_at := least(
            new.created_at, (select a.started_at from sms_send_attempts a where a.id = new.evidence::uuid));
    else
        new.created_at := least(
            new.created_at, (
            select a.started_at from sms_message_sids s join sms_send_attempts a on a.id = s.attempt_id
            where s.packed_sid = sms_pack_sid(new.evidence)));
    end if;
    return new;
end $$;

create or replace trigger sms_opt_out_events_date_refusal before insert on sms_opt_out_events
    for each row when (new.source = 'twilio_error') execute function sms_date_refusal();
