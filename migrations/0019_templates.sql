-- Message templates (common/docs/decisions/0030-templates.md).
create table sms_templates (
    id          uuid primary key,
    -- The name and the number of the current version.
    name        text not null,
    version     integer not null,
    created_at  timestamptz not null,
    -- A deleted template is not found any more. Its versions stay.
    deleted_at  timestamptz
);
-- The name of a deleted template can be used again.
create unique index sms_templates_by_name on sms_templates (name) where deleted_at is null;

-- Versions never change.
create table sms_template_versions (
    template_id uuid not null references sms_templates (id),
    -- 1, 2, 3 …
    version     integer not null,
    name        text not null,
    -- The texts, with variables such as {{name}}.
    en          text,
    es          text,
    pt          text,
    -- The language of the text for recipients for whose languages there is none.
    fallback    text not null,
    -- The key that wrote it.
    api_key_id  uuid not null,
    created_at  timestamptz not null,
    primary key (template_id, version),
    check (case fallback when 'en' then en when 'es' then es when 'pt' then pt end is not null)
);
