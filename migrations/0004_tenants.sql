-- Tenants and the languages of their profiles.
create table sms_tenants (
    tenant_id           text primary key,
    -- The language of the profile, as far as we know. preference_at is when we read it, and null if we wrote it.
    language_preference text check (language_preference in ('en', 'es', 'pt')),
    preference_at       timestamptz,
    -- The last decided language.
    language_decided    text check (language_decided in ('en', 'es', 'pt')),
    -- The language that must still be written to the profile.
    push_language       text check (push_language in ('en', 'es', 'pt')),
    push_due_at         timestamptz,
    push_tries          integer not null default 0
);
create index sms_tenants_push_due on sms_tenants (push_due_at) where push_language is not null;

-- The numbers of a tenant and when each was last used. A number has at most one tenant.
create table sms_tenant_numbers (
    conversation_id uuid primary key references sms_conversations (id),
    tenant_id       text not null,
    last_used_at    timestamptz not null
);
create index sms_tenant_numbers_of_tenant on sms_tenant_numbers (tenant_id, last_used_at desc);
