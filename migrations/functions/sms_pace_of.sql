-- Returns the pace of a sender: that of the first pattern that matches.
create or replace function sms_pace_of(
    of_sender text, patterns text[], rates float8[], bursts float8[], bulk_bursts float8[],
    out rate float8, out burst float8, out bulk_burst float8)
language plpgsql immutable as $$
#variable_conflict use_column
begin
    select t.rate, t.burst, t.bulk_burst into rate, burst, bulk_burst
    from unnest(patterns, rates, bursts, bulk_bursts)
        with ordinality as t (pattern, rate, burst, bulk_burst, position)
    where of_sender ~ t.pattern order by t.position limit 1;
end $$;
