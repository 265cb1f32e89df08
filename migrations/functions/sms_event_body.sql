-- Returns the body of an event: compact JSON with the keys in this order, without those that do not apply. It equals the
-- serialization of common/src/domain/event.rs.
create or replace function sms_event_body(
    id uuid, type text, at timestamptz, conversation_id uuid, sequence bigint, message_id uuid, tenant_id text,
    workflow_type text, data text)
returns text language sql stable parallel safe as $$
    select '{"id":"' || id || '","type":' || to_json(type)
        || ',"timestamp":' || rtrim(to_json(at at time zone 'UTC')::text, '"') || 'Z"'
        || coalesce(',"conversation_id":"' || conversation_id || '","conversation_sequence":' || sequence, '')
        || coalesce(',"message_id":"' || message_id || '"', '')
        || coalesce(',"tenant_id":' || to_json(tenant_id), '')
        || coalesce(',"workflow_type":' || to_json(workflow_type), '')
        || ',"data":' || data || '}'
$$;
