-- Returns the data of the event of a changed language, as in common/src/domain/event.rs. The source is the message or the
-- tenant.
create or replace function sms_language_data(
    language text, previous_language text, confidence float8, source text, request_id text)
returns text language sql stable parallel safe as $$
    select row_to_json(d)::text
    from (select language, previous_language, confidence, source, request_id) d
$$;
