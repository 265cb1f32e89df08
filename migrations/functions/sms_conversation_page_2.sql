-- Reads a conversation by the first known spelling of its number, with a page of its messages, newest first. Each row
-- has the conversation and one message; an empty page is one row without a message. Replaces sms_conversation_page.
--
-- A message that waits for another create shows its latest SID. A missing cursor is replaced by the end of time and of
-- ids: the plan must not depend on it, so that the index is entered where the page begins.
create or replace function sms_conversation_page_2(
    account text, numbers text[], before timestamptz, before_id uuid, skip bigint, take bigint)
returns table (
    conversation_id uuid, phone_number_canonical text, phone_number_original text, tenant_id text, workflow_type text,
    workflow_id text, language_detected text, conversation_language_confidence float8, opted_out_at timestamptz,
    last_message_at timestamptz, message_count bigint,
    id uuid, direction text, from_number text, to_number text, message_content text, media jsonb, twilio_sid text,
    delivery_status text, error_code text, language text, language_confidence float8, created_at timestamptz,
    tenant_candidates jsonb, carrier_blocked_at timestamptz, deactivated_at timestamptz, conversation_status text,
    time_zone text, opt_out text)
language plpgsql stable as $$
#variable_conflict use_column
begin
    return query
    with conversation as (
        select c.* from unnest(numbers) with ordinality as v (number, position)
        join sms_conversations c on c.account_sid = account and c.phone_number_canonical = v.number
        order by v.position limit 1
    )
    select c.id, c.phone_number_canonical, c.phone_number_original, c.tenant_id, c.workflow_type, c.workflow_id,
        c.language_detected, c.language_confidence, c.opted_out_at, c.last_message_at, c.message_count,
        m.id, m.direction, m.from_number, m.to_number, m.message_content,
        case when m.direction = 'inbound' and m.media <> '[]' then sms_message_media(m.id, m.media) else m.media end,
        coalesce(m.twilio_sid, (select a.twilio_sid from sms_send_attempts a
                                where a.message_id = m.id and a.twilio_sid is not null order by a.number desc limit 1)),
        m.delivery_status, m.error_code, m.language, m.language_confidence, m.created_at,
        c.tenant_candidates, c.carrier_blocked_at, c.deactivated_at, c.conversation_status, c.time_zone, m.opt_out
    from conversation c
    left join lateral (
        select * from sms_messages m
        where m.conversation_id = c.id
          and (m.created_at, m.id) < (coalesce(before, 'infinity'::timestamptz),
                                      coalesce(before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
        order by m.created_at desc, m.id desc
        offset skip limit take
    ) m on true
    order by m.created_at desc, m.id desc;
end $$;
