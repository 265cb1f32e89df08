-- Erased rows of which an archive may have a copy. The archive job deletes them there, and they must not be restored.
create table sms_erased_archive_rows (
    table_name  text not null,
    row_id      uuid not null,
    erased_at   timestamptz not null,
    primary key (table_name, row_id)
);
