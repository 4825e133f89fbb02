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
        set_name -> Nullable<Text>,
        set_labels -> Nullable<Text>,
        maintenance_until -> Nullable<BigInt>,
        maintenance_note -> Nullable<Text>,
        engines -> Nullable<Text>,
        desired_generation -> BigInt,
        agent_rollout -> Nullable<BigInt>,
        agent_kind -> Nullable<Text>,
    }
}

table! {
    removed_nodes (id) {
        id -> BigInt,
        uuid -> Text,
        environment -> BigInt,
        labels -> Text,
        removed_at -> BigInt,
        is_clean -> BigInt,
    }
}

table! {
    removed_series (id) {
        id -> BigInt,
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
    node_totals (node) {
        node -> BigInt,
        body -> Binary,
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
        unused_since -> Nullable<BigInt>,
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

table! {
    definitions (id) {
        id -> BigInt,
        environment -> BigInt,
        slug -> Text,
        version -> BigInt,
        stable_version -> Nullable<BigInt>,
        paused -> BigInt,
        removed_at -> Nullable<BigInt>,
    }
}

table! {
    definition_versions (definition, version) {
        definition -> BigInt,
        version -> BigInt,
        checksum -> Text,
        body -> Text,
        author -> Text,
        author_id -> Nullable<Text>,
        note -> Text,
        created_at -> BigInt,
    }
}

table! {
    rollouts (id) {
        id -> BigInt,
        environment -> BigInt,
        definition -> Nullable<BigInt>,
        version -> BigInt,
        from_version -> Nullable<BigInt>,
        agent_update -> Nullable<Text>,
        policy -> Text,
        state -> Text,
        reason -> Text,
        stage -> BigInt,
        author -> Text,
        started_at -> BigInt,
        changed_at -> BigInt,
        finished_at -> Nullable<BigInt>,
    }
}

table! {
    rollout_nodes (rollout, node) {
        rollout -> BigInt,
        node -> BigInt,
        stage -> BigInt,
        state -> Text,
        reason -> Text,
        changed_at -> BigInt,
    }
}

table! {
    assignments (node, definition) {
        node -> BigInt,
        definition -> BigInt,
        version -> BigInt,
        paused -> BigInt,
    }
}

table! {
    deployments (node, slug) {
        node -> BigInt,
        slug -> Text,
        version -> BigInt,
        running_version -> Nullable<BigInt>,
        phase -> Text,
        reason -> Text,
        since -> BigInt,
    }
}

table! {
    topologies (pipeline, checksum) {
        pipeline -> BigInt,
        checksum -> Text,
        topology -> Text,
        last_seen_at -> BigInt,
    }
}

table! {
    secrets (environment, name, revision) {
        environment -> BigInt,
        name -> Text,
        revision -> BigInt,
        key_id -> Text,
        sealed -> Binary,
        author -> Text,
        created_at -> BigInt,
    }
}

table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        environment -> Nullable<BigInt>,
        token -> Nullable<Text>,
        actor -> Text,
        action -> Text,
        subject -> Text,
        result -> Text,
    }
}

table! {
    alert_states (id) {
        id -> Text,
        rule -> Text,
        subject -> Text,
        environment -> BigInt,
        node -> Nullable<BigInt>,
        pipeline -> Nullable<Text>,
        name -> Text,
        severity -> Text,
        state -> Text,
        since -> BigInt,
        fired_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        value -> Nullable<Double>,
        text -> Text,
        notified -> BigInt,
        notified_at -> Nullable<BigInt>,
    }
}

table! {
    alert_groups (id) {
        id -> Text,
        opened_at -> BigInt,
        sent_at -> BigInt,
    }
}

table! {
    alert_outbox (id) {
        id -> BigInt,
        target -> Text,
        created_at -> BigInt,
        message -> Text,
    }
}

table! {
    alert_targets (target) {
        target -> Text,
        last_attempt_at -> BigInt,
        last_success_at -> Nullable<BigInt>,
        failing_since -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        sent -> BigInt,
        failed -> BigInt,
    }
}

table! {
    silences (id) {
        id -> BigInt,
        environment -> Nullable<BigInt>,
        matchers -> Text,
        starts_at -> BigInt,
        ends_at -> BigInt,
        author -> Text,
        note -> Text,
        created_at -> BigInt,
    }
}

allow_tables_to_appear_in_same_query!(
    environments,
    nodes,
    removed_nodes,
    removed_series,
    tokens,
    pipelines,
    series,
    pipeline_status,
    pipeline_minutes,
    component_minutes,
    logs,
    events,
    node_boots,
    definitions,
    definition_versions,
    rollouts,
    rollout_nodes,
    assignments,
    deployments,
    topologies,
    secrets,
    audit,
);
