-- The W3C trace context of the request or the inbound message that caused a send: its traceparent, and a space and its
-- tracestate if there is one. Null if it is not traced.
alter table sms_messages add column trace_context text;
