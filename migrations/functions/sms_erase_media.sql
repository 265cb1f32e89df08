-- Erases the files of messages: removes their URLs and types, and makes the deletion of their objects due. Returns their number.
--
-- A worker that copies a file at this moment writes its object at most two minutes later (LEASE in common/src/db/media.rs), so
-- objects of pending files are deleted after that, unless no worker has the file.
create or replace function sms_erase_media(messages uuid[], at timestamptz)
returns bigint language plpgsql
-- A connection keeps plans that it made when there were few files.
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    erased bigint;
begin
    update sms_media f
    set erased_at = at, url = '', declared_type = null, detected_type = null, size = null, sha256 = null, error = null,
        attempts = 0,
        next_attempt_at = case when f.status = 'pending' and f.attempts > 0
                               then greatest(at, least(f.next_attempt_at, at + interval '2 minutes')) else at end
    from unnest(messages) as m (id)
    where f.message_id = m.id and f.erased_at is null;
    get diagnostics erased = row_count;
    return erased;
end $$;
