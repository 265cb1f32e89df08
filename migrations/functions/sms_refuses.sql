-- Returns whether the opt-outs of a conversation apply to a message with this workflow and purpose. A message without a
-- workflow belongs to that of its conversation; the caller passes it.
create or replace function sms_refuses(
    opted_out_at timestamptz, opted_out_scopes text[], workflow_type text, purpose text)
returns boolean language sql immutable as $$
    select opted_out_at is not null
        or opted_out_scopes && array['workflow:' || workflow_type, 'purpose:' || purpose]
$$;
