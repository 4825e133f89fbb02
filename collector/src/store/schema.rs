//! The tables as diesel sees them; the migrations are their source.

use diesel::{allow_tables_to_appear_in_same_query, table};

use crate::model::counters::{component_counters, pipeline_counters};

table! {
    meta (id) {
        id -> BigInt,
        epoch -> Text,
        head_seq -> BigInt,
        oldest_log -> BigInt,
        oldest_event -> BigInt,
        access_version -> BigInt,
        folds -> BigInt,
        fold_to -> BigInt,
        fold_minute -> BigInt,
        fold_node -> BigInt,
    }
}

table! {
    journal (id) {
        id -> BigInt,
        body -> Binary,
    }
}

table! {
    environments (id) {
        id -> BigInt,
        uuid -> Text,
        name -> Text,
        created_at -> BigInt,
    }
}

table! {
    nodes (id) {
        id -> BigInt,
        uuid -> Text,
        environment -> BigInt,
        name -> Text,
        machine_id -> Nullable<Text>,
        os -> Text,
        agent_version -> Nullable<Text>,
        vector_version -> Nullable<Text>,
        deployment_mode -> Nullable<Text>,
        running_as -> Nullable<Text>,
        labels -> Text,
        health -> Nullable<Text>,
        host -> Nullable<Text>,
        status -> Text,
        status_reason -> Text,
        status_since -> BigInt,
        last_seen_at -> Nullable<BigInt>,
        enrolled_at -> BigInt,
        last_address -> Nullable<Text>,
        twin_of -> Nullable<BigInt>,
    }
}

table! {
    tokens (uuid) {
        uuid -> Text,
        kind -> Text,
        environment -> Nullable<BigInt>,
        node -> Nullable<BigInt>,
        parent -> Nullable<Text>,
        sha256 -> Text,
        hint -> Text,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
        name -> Nullable<Text>,
        note -> Nullable<Text>,
    }
}

table! {
    node_boots (node, boot) {
        node -> BigInt,
        boot -> Text,
        seq -> BigInt,
        last_seen_at -> BigInt,
    }
}

table! {
    node_gaps (node, boot, from_seq) {
        node -> BigInt,
        boot -> Text,
        from_seq -> BigInt,
        to_seq -> BigInt,
        recorded_at -> BigInt,
    }
}

table! {
    pipelines (id) {
        id -> BigInt,
        environment -> BigInt,
        slug -> Text,
        name -> Text,
    }
}

table! {
    series (id) {
        id -> BigInt,
        node -> BigInt,
        pipeline -> BigInt,
        component -> Text,
        kind -> Text,
    }
}

table! {
    pipeline_status (node, pipeline) {
        node -> BigInt,
        pipeline -> BigInt,
        status -> Text,
        status_text -> Nullable<Text>,
        reason -> Text,
        since -> BigInt,
        version -> Nullable<BigInt>,
        pid -> Nullable<BigInt>,
        started_at -> Nullable<BigInt>,
        restarts -> BigInt,
        config_checksum -> Nullable<Text>,
        scrape_error -> Nullable<Text>,
        present -> BigInt,
        reported_at -> BigInt,
    }
}

macro_rules! minutes_table {
    ({ $table:ident } $([$kind:ident $column:ident $json:literal $type:tt ($($sql:tt)+) $($doc:literal)?])*) => {
        table! {
            $table (minute, series) {
                minute -> BigInt,
                series -> BigInt,
                $($column -> $($sql)+,)*
            }
        }
    };
}

pipeline_counters!(minutes_table { pipeline_minutes });
component_counters!(minutes_table { component_minutes });

table! {
    node_minutes (minute, node) {
        minute -> BigInt,
        node -> BigInt,
        memory_total_bytes -> Nullable<BigInt>,
        memory_used_bytes -> Nullable<BigInt>,
        memory_free_bytes -> Nullable<BigInt>,
        cpu_seconds_total -> Nullable<Double>,
        cpu_seconds_idle -> Nullable<Double>,
        load_avg_1 -> Nullable<Double>,
        load_avg_5 -> Nullable<Double>,
        load_avg_15 -> Nullable<Double>,
        fs_total_bytes -> Nullable<BigInt>,
        fs_used_bytes -> Nullable<BigInt>,
        fs_free_bytes -> Nullable<BigInt>,
        disk_read_bytes -> Nullable<BigInt>,
        disk_written_bytes -> Nullable<BigInt>,
        net_rx_bytes -> Nullable<BigInt>,
        net_tx_bytes -> Nullable<BigInt>,
        samples -> BigInt,
    }
}

table! {
    dirty_hours (hour, node) {
        hour -> BigInt,
        node -> BigInt,
        done -> BigInt,
    }
}

table! {
    dirty_days (day, node) {
        day -> BigInt,
        node -> BigInt,
        done -> BigInt,
    }
}

table! {
    logs (seq) {
        seq -> BigInt,
        entry_seq -> BigInt,
        at -> BigInt,
        node -> BigInt,
        pipeline -> BigInt,
        stream -> Text,
        level -> Nullable<Text>,
        line -> Text,
    }
}

table! {
    events (seq) {
        seq -> BigInt,
        at -> BigInt,
        environment -> BigInt,
        node -> BigInt,
        pipeline -> Nullable<BigInt>,
        kind -> Text,
        payload -> Text,
    }
}

allow_tables_to_appear_in_same_query!(
    environments,
    nodes,
    tokens,
    pipelines,
    series,
    pipeline_status,
    pipeline_minutes,
    component_minutes,
    logs,
    events,
    node_boots,
);
