-- No deployed function calls the first version of sms_store_inbound any more: those of 0009 and later call sms_store_inbound_2.
drop function sms_store_inbound(
    uuid[], uuid[], text[], text[], text[], text[], text[], text[], text[], jsonb[], jsonb[], bool[], text[], float8[],
    text[], text[], text[], text[], timestamptz[]);
