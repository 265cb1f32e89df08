-- Reads the messages of a bulk request (common/src/db/batches.rs).
create or replace function sms_bulk_messages(messages jsonb)
returns table (place int, id uuid, recipient text, sender_number text, service_sid text, replaced text, content text,
    media jsonb, encoding text, segments int, priority text, purpose text, workflow_type text, workflow_id text, metadata jsonb,
    send_at timestamptz, send_before timestamptz, language text, language_confidence float8)
language sql stable as $$
    select m.*
    from jsonb_to_recordset(messages) as m (place int, id uuid, recipient text, sender_number text, service_sid text,
        replaced text, content text, media jsonb, encoding text, segments int, priority text, purpose text, workflow_type text,
        workflow_id text, metadata jsonb, send_at timestamptz, send_before timestamptz, language text,
        language_confidence float8)
$$;
