-- Reads a conversation by the first of its number's spellings that is known, with a page of its messages, newest first: a
-- row per message, the conversation in each; one row whose message is null when there is none on the page.
--
-- A function, so that a connection plans its statement once (decision 8). A plan that serves every page must not depend
-- on whether a cursor was given, hence the ends of time and of ids in its place: the index is entered where the page
-- begins, however far down that is.
create function sms_conversation_page(
    account text, numbers text[], before timestamptz, before_id uuid, skip bigint, take bigint)
returns table (
    conversation_id uuid, phone_number_canonical text, phone_number_original text, tenant_id text, workflow_type text,
    workflow_id text, language_detected text, conversation_language_confidence float8, opted_out_at timestamptz,
    last_message_at timestamptz, message_count bigint,
    id uuid, direction text, from_number text, to_number text, message_content text, media jsonb, twilio_sid text,
    delivery_status text, error_code text, language text, language_confidence float8, created_at timestamptz,
    tenant_candidates jsonb, carrier_blocked_at timestamptz)
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
        m.id, m.direction, m.from_number, m.to_number, m.message_content, m.media, m.twilio_sid, m.delivery_status,
        m.error_code, m.language, m.language_confidence, m.created_at,
        c.tenant_candidates, c.carrier_blocked_at
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
