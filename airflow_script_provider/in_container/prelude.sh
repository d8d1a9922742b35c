# Prepares the script's container, then becomes the interpreter, whose command line is argv.
# AIRFLOW_SCRIPT_PACKAGES: system packages to install.
# AIRFLOW_SCRIPT_TARGET: folder with the installed pip requirements.

airflow_fail() { # $1: exit code; $2: cause
    echo "$2"
    printf 'airflow-script: %s' "$2" > /dev/termination-log 2>/dev/null
    echo "::endgroup::$AIRFLOW_SCRIPT_MARK"
    exit "$1"
}

airflow_install() {
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q && apt-get install -q -y --no-install-recommends "$@"
    elif command -v apk >/dev/null; then
        apk add --no-cache "$@"
    elif command -v dnf >/dev/null; then
        dnf install -y "$@"
    elif command -v microdnf >/dev/null; then
        microdnf install -y "$@"
    else
        echo 'the image has none of apt-get, apk, dnf and microdnf'
        return 97
    fi
}

airflow_packages() {
    [ "$(id -u)" = 0 ] || airflow_fail 97 'could not install packages: the container does not run as root'
    airflow_log=$(mktemp)
    # A pipe would lose the exit code, so a file keeps it.
    { airflow_install "$@" 2>&1; echo $? > "$airflow_log.code"; } | tee "$airflow_log"
    [ "$(cat "$airflow_log.code" 2>/dev/null || echo 97)" = 0 ] && rm -f "$airflow_log" "$airflow_log.code" && return
    # An unreachable repository also reports missing packages. Another attempt may reach it.
    airflow_cause=$(airflow_said "$airflow_unreached")
    [ -n "$airflow_cause" ] && airflow_fail 98 "could not install packages: $airflow_cause"
    airflow_cause=$(airflow_said "$airflow_missing")
    [ -n "$airflow_cause" ] && airflow_fail 97 "could not install packages: $airflow_cause"
    airflow_fail 98 "could not install packages: $(tail -n 1 "$airflow_log")"
}

# Messages of apt, apk, dnf and microdnf, in this order.
airflow_unreached='failed to fetch|temporary failure|temporary error|network error|failed to download metadata|cannot download repomd'
airflow_missing='unable to locate package|has no installation candidate|no such package|unable to find a match|no match for argument|no package|none of apt-get'

airflow_said() { # $1: regular expression; prints the last matching line of the installation
    grep -i -E "$1" "$airflow_log" | tail -n 1 | sed 's/^ *//'
}

if [ -n "$AIRFLOW_SCRIPT_PACKAGES" ]; then
    echo "::group::Installing packages: $AIRFLOW_SCRIPT_PACKAGES"
    # Each name is one word, so the shell may split them.
    # shellcheck disable=SC2086
    airflow_packages $AIRFLOW_SCRIPT_PACKAGES </dev/null
    echo "::endgroup::$AIRFLOW_SCRIPT_MARK"
fi
if [ -n "$AIRFLOW_SCRIPT_TARGET" ]; then
    export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$AIRFLOW_SCRIPT_TARGET" PATH="$PATH:$AIRFLOW_SCRIPT_TARGET/bin"
fi
unset AIRFLOW_SCRIPT_PACKAGES AIRFLOW_SCRIPT_TARGET AIRFLOW_SCRIPT_MARK
exec "$@"
