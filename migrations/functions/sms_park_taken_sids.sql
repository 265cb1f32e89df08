-- Returns the outcomes of attempts. An outcome whose SID belongs to another message, another attempt or another row of this
-- batch becomes "unknown, parked", without the SID: its message may be on the handset, and Twilio's list will never show it
-- as unowned, so it must neither be searched for nor be sent again.
create or replace function sms_park_taken_sids(
    message_ids uuid[], attempt_ids uuid[], outcomes text[], statuses text[], sids text[], codes text[], details text[],
    nexts timestamptz[], replaces text[], parks bool[])
returns table (message_id uuid, attempt_id uuid, code text, next_attempt_at timestamptz, parked bool, outcome text,
    status text, sid text, detail text, replaced text[])
language plpgsql stable
-- The default estimate of 1,000 rows makes a caller's plan read every attempt instead of a few.
rows 20
as $$
#variable_conflict use_column
begin
    return query
    with given as (
        select t.*, t.sid is not null and (
                row_number() over (partition by t.sid order by t.position) > 1
                or exists (select from sms_message_sids s where s.packed_sid = sms_pack_sid(t.sid)
                           and (s.message_id <> t.message_id or s.attempt_id <> t.attempt_id))
            ) as is_taken
        from unnest(message_ids, attempt_ids, outcomes, statuses, sids, codes, details, nexts, replaces, parks)
            with ordinality
            as t (message_id, attempt_id, outcome, status, sid, code, detail, next_attempt_at, replaces, parks, position)
    )
    select g.message_id, g.attempt_id, g.code, g.next_attempt_at, g.parks or g.is_taken,
        case when g.is_taken then 'unknown' else g.outcome end,
        case when g.parks or g.is_taken then 'unknown' else g.status end,
        case when not g.is_taken then g.sid end,
        case when g.is_taken then format('Twilio accepted it as %s, which belongs to another message or attempt', g.sid)
             else g.detail end,
        case when g.parks or g.is_taken then array['pending', 'unknown'] else string_to_array(g.replaces, ',') end
    from given g;
end $$;
