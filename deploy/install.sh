#!/bin/sh
# Installs, upgrades or removes systole-agent or systole-collector on this Linux host. See --help.
set -eu

usage() {
    cat <<'EOF'
Installs or upgrades systole-agent, or with --collector systole-collector, on this host.

  install.sh --from DIR|URL [options]     install or upgrade
  install.sh --uninstall [--purge]        remove; --purge also removes configuration and data

The --from directory or URL contains the program (systole-agent), its systemd unit (systole-agent.service), and
SHA256SUMS, the output of sha256sum for both files. For the collector these are systole-collector, its unit, and
systole-collector-backup.service and .timer. An unpacked archive of `make dist` is such a directory.

  --collector    the collector instead of the agent
  --accept-pipelines | --no-accept-pipelines
                 whether a new configuration lets this host run pipelines that the collector describes (a configuration
                 of Vector can run programs: docs/security.md). Without either, the installer asks on a terminal;
                 without a terminal the answer is no
  --force        install a version older than the installed one
  --prefix DIR   install the program into DIR/bin       [default: /usr/local]
  --root DIR     install below DIR, for an image; creates no user and does not call systemd
  --no-start     do not (re)start the service
  --dry-run      print the steps and change nothing
  --help

An upgrade keeps configuration (/etc/systole/agent.toml, collector.toml) and data (/var/lib/systole-agent,
/var/lib/systole). You can run it again at any time: it changes only what differs. Exit codes: 0 done, 1 failed, 2 wrong usage.
EOF
}

NAME=systole-agent
from='' prefix=/usr/local root='' force=no dry_run=no uninstall=no purge=no start=yes accept=ask

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
misuse() { printf 'install.sh: %s; see --help\n' "$*" >&2; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --from | --prefix | --root)
            if [ $# -lt 2 ] || [ -z "$2" ]; then misuse "$1 needs a value"; fi
            case $1 in
                --from) from=$2 ;;
                --prefix) prefix=${2%/} ;;
                --root) root=${2%/} ;;
            esac
            shift
            ;;
        --collector) NAME=systole-collector ;;
        --accept-pipelines) accept=true ;;
        --no-accept-pipelines) accept=false ;;
        --force) force=yes ;;
        --dry-run) dry_run=yes ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        --no-start) start=no ;;
        --help | -h) usage; exit 0 ;;
        *) misuse "unknown option $1" ;;
    esac
    shift
done

case $prefix in /*) ;; *) misuse "--prefix must be absolute" ;; esac
[ "$uninstall" = yes ] || [ -n "$from" ] || misuse "--from or --uninstall is required"
[ "$uninstall" = no ] || [ -z "$from" ] || misuse "--from and --uninstall exclude each other"
[ "$purge" = no ] || [ "$uninstall" = yes ] || misuse "--purge needs --uninstall"
short=${NAME#systole-}
[ "$short" = agent ] || [ "$accept" = ask ] || misuse "--accept-pipelines is for the agent"
[ "$(uname -s)" = Linux ] || fail "this installer is for Linux"

# The service runs as the user of its own name.
USER_NAME=$NAME
binary=$root$prefix/bin/$NAME
units=$root/etc/systemd/system
etc=$root/etc/systole
config=$etc/$short.toml
if [ "$short" = agent ]; then
    data=$root/var/lib/systole-agent
    extra=$etc/vector-metrics.yaml
    unit_files=$NAME.service
else
    data=$root/var/lib/systole
    extra=$data-backups
    unit_files="$NAME.service $NAME-backup.service $NAME-backup.timer"
fi

# Runs a command, or prints it in a dry run.
run() {
    if [ "$dry_run" = yes ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

# Whether the installation changes users and services of this host.
is_host() { [ -z "$root" ]; }
has_systemd() { is_host && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

if is_host && [ "$dry_run" = no ] && [ "$(id -u)" != 0 ]; then
    fail "must run as root; try sudo, or --root DIR"
fi

uninstall() {
    for file in $unit_files; do
        [ -e "$units/$file" ] || continue
        if has_systemd; then run systemctl disable --now "$file"; fi
        run rm -f "$units/$file"
    done
    [ ! -e "$binary" ] || run rm -f "$binary"
    if has_systemd; then run systemctl daemon-reload; fi
    if [ "$purge" = yes ]; then
        # Other programs of Systole keep their files in the same directory.
        for path in "$config" "$etc/$short.env" "$extra" "$data"; do
            [ ! -e "$path" ] || run rm -rf "$path"
        done
        if [ -d "$etc" ] && [ -z "$(ls -A "$etc")" ]; then run rmdir "$etc"; fi
        if is_host && id "$USER_NAME" >/dev/null 2>&1; then run userdel "$USER_NAME"; fi
        say "removed $NAME, its configuration and its data"
    else
        say "removed $NAME; $config and $data stay (--purge removes them)"
    fi
}

# Copies a file of --from into the work directory.
fetch() {
    case $from in
        http://* | https://*)
            if command -v curl >/dev/null 2>&1; then
                curl -fsSL --retry 3 --connect-timeout 10 -o "$work/$1" "${from%/}/$1" || fail "cannot fetch ${from%/}/$1"
            elif command -v wget >/dev/null 2>&1; then
                wget -q -O "$work/$1" "${from%/}/$1" || fail "cannot fetch ${from%/}/$1"
            else
                fail "curl or wget is needed to fetch ${from%/}/$1"
            fi
            ;;
        *)
            [ -f "$from/$1" ] || fail "$from/$1 is missing"
            cp "$from/$1" "$work/$1" || fail "cannot read $from/$1"
            ;;
    esac
}

# Compares a fetched file with SHA256SUMS.
verify() {
    wanted=$(awk -v name="$1" '{ file = $2; sub(/^\*/, "", file); sub(/^\.\//, "", file) } file == name { print $1; exit }' "$work/SHA256SUMS")
    [ -n "$wanted" ] || fail "SHA256SUMS does not name $1"
    found=$(sha256sum "$work/$1" | cut -d ' ' -f 1)
    [ "$wanted" = "$found" ] || fail "the checksum of $1 is $found, but SHA256SUMS has $wanted: nothing was installed"
}

version_of() { "$1" --version 2>/dev/null | awk -v name="$NAME" '$1 == name { print $2; exit }'; }

# Whether version $1 is older than $2. A pre-release (1.2.0-rc1) is older than its release.
is_older() {
    [ "$1" != "$2" ] || return 1
    case $1 in "$2"-*) return 0 ;; esac
    case $2 in "$1"-*) return 1 ;; esac
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# Replaces a file in one step, unless it is equal. Sets $changed.
place() {
    if [ -f "$2" ] && cmp -s "$1" "$2"; then
        return
    fi
    changed=yes
    run mkdir -p "$(dirname "$2")"
    run cp "$1" "$2.new"
    run chmod "$3" "$2.new"
    run mv -f "$2.new" "$2"
}

# Whether the collector may describe what runs here. Only an operator says yes.
ask_accept() {
    [ "$accept" = ask ] || return 0
    accept=false
    if [ "$dry_run" = no ] && [ -t 0 ] && [ -t 1 ]; then
        printf 'Run pipelines that the collector describes? Their configurations can run programs on this host. [y/N] '
        read -r answer || answer=''
        case $answer in [yY] | [yY][eE][sS]) accept=true ;; esac
    fi
}

# The engine of a host that accepts pipelines, or an example of one.
engine_config() {
    mark='# '
    [ "$accept" = false ] || mark=''
    vector=$(command -v vector || echo /usr/bin/vector)
    cat <<EOF

# What runs pipelines of the collector. Metrics and API are in vector-metrics.yaml beside this file.
${mark}[engine.vector]
${mark}command = ["$vector", "--config", "{config}", "--config", "/etc/systole/vector-metrics.yaml"]
${mark}validate = ["$vector", "validate", "--no-environment", "{config}", "/etc/systole/vector-metrics.yaml"]
${mark}port_range = "20000-20999"
${mark}metrics_url = "http://127.0.0.1:{port}/metrics"
${mark}api_url = "http://127.0.0.1:{api_port}"
# run_as = "vector"    # needs an agent that runs as root: docs/security.md
EOF
}

# The same as deploy/vector-metrics.yaml.
metrics_config() {
    cat <<'EOF'
# Adds the metrics and the API to each Vector that systole-agent runs for the collector.
api:
  enabled: true
  address: 127.0.0.1:${SYSTOLE_API_PORT}
sources:
  systole_metrics:
    type: internal_metrics
sinks:
  systole_exporter:
    type: prometheus_exporter
    inputs: [systole_metrics]
    address: 127.0.0.1:${SYSTOLE_METRICS_PORT}
EOF
}

example_config() {
    cat <<EOF
# Whether this host runs pipelines that the collector describes. A configuration of Vector can run programs:
# read docs/security.md first.
accept_pipelines = $accept

EOF
    cat <<'EOF'
# See `systole-agent --help` and `systole-agent check-config`. Put the enrolment token into
# agent.env in this directory, as SYSTOLE_TOKEN=systole_enroll_…; it is needed only once.
url = "http://collector.example:8080"

# [[pipeline]]
# id = "orders"
# command = ["vector", "--config", "/etc/vector/orders.yaml"]    # omit to only watch
# metrics_url = "http://127.0.0.1:9598/metrics"
EOF
}

collector_config() {
    cat <<'EOF'
# See `systole-collector --help` and `systole-collector check-config`.
data_dir = "/var/lib/systole"

# Agents of other hosts need an address that they can reach, and a certificate.
# listen = "0.0.0.0:8080"
# tls_cert_file = "/etc/systole/collector.crt"
# tls_key_file = "/etc/systole/collector.key"
EOF
}

# A configuration for a host that has none.
place_config() {
    if [ "$short" = collector ]; then
        collector_config >"$work/config"
        place "$work/config" "$config" 644
        return
    fi
    ask_accept
    { example_config; engine_config; } >"$work/config"
    place "$work/config" "$config" 640
    if [ ! -e "$extra" ]; then
        metrics_config >"$work/vector-metrics.yaml"
        place "$work/vector-metrics.yaml" "$extra" 644
    fi
    if is_host; then run chgrp "$USER_NAME" "$config"; fi
}

install_program() {
    command -v sha256sum >/dev/null 2>&1 || fail "sha256sum is missing (coreutils)"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    for file in SHA256SUMS "$NAME" $unit_files; do fetch "$file"; done
    for file in "$NAME" $unit_files; do verify "$file"; done
    chmod 755 "$work/$NAME"
    new=$(version_of "$work/$NAME")
    [ -n "$new" ] || fail "the program of $from does not run on this host ($(uname -m)): nothing was installed"
    old=''
    if [ -x "$binary" ]; then old=$(version_of "$binary"); fi
    if [ -n "$old" ] && is_older "$new" "$old" && [ "$force" = no ]; then
        fail "$NAME $old is installed and $new is older; use --force to install it anyway"
    fi

    if is_host && ! id "$USER_NAME" >/dev/null 2>&1; then
        shell=/usr/sbin/nologin
        [ -x "$shell" ] || shell=/bin/false
        run useradd --system --user-group --home-dir "$data" --no-create-home --shell "$shell" "$USER_NAME"
    fi
    changed=no
    place "$work/$NAME" "$binary" 755
    for file in $unit_files; do
        # The unit contains the path of the program, which depends on the prefix.
        sed "s|^ExecStart=/usr/local/bin/|ExecStart=$prefix/bin/|" "$work/$file" >"$work/unit"
        place "$work/unit" "$units/$file" 644
    done
    is_new_config=no
    if [ ! -e "$config" ]; then
        is_new_config=yes
        place_config
    fi
    if [ ! -d "$data" ]; then
        run mkdir -p "$data"
        run chmod 700 "$data"
        if is_host; then run chown "$USER_NAME:$USER_NAME" "$data"; fi
    fi

    if has_systemd; then
        run systemctl daemon-reload
        # A collector works as it is; an agent must know its collector.
        if [ "$is_new_config,$short" = yes,agent ]; then
            say "next: edit $config, then: systemctl enable --now $NAME"
        elif [ "$start" = yes ]; then
            run systemctl enable "$NAME.service"
            if [ "$changed" = yes ]; then
                run systemctl restart "$NAME.service"
            else
                run systemctl start "$NAME.service"
            fi
        fi
    fi
    case $dry_run,$changed,$old in
        yes,*) say "nothing was changed" ;;
        no,no,*) say "$NAME $new is installed already" ;;
        no,yes,'') say "$NAME $new is installed" ;;
        no,yes,"$new") say "$NAME $new is installed again" ;;
        *) say "$NAME $new is installed, it was $old" ;;
    esac
}

if [ "$uninstall" = yes ]; then
    uninstall
else
    install_program
fi
