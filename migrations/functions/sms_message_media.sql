-- Returns the files of an inbound message as the API shows them. "listed" are the references that the message has: those of a
-- message from before files were copied are returned as they are.
create or replace function sms_message_media(message uuid, listed jsonb)
returns jsonb language sql stable
-- A connection keeps plans that it made when there were few files.
set enable_seqscan = off set jit = off
as $$
    select coalesce(
        jsonb_agg(jsonb_build_object(
            'id', f.id, 'url', '/media/' || f.id, 'content_type', coalesce(f.detected_type, f.declared_type),
            'size', f.size, 'sha256', f.sha256, 'status', f.status) order by f.position),
        listed)
    from sms_media f where f.message_id = message and f.erased_at is null
$$;
