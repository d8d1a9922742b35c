# Prepares the script's container, then becomes the interpreter: argv is the interpreter's.
# AIRFLOW_SCRIPT_PACKAGES: system packages to install; AIRFLOW_SCRIPT_TARGET: folder of installed pip requirements.

airflow_fail() { # exit code, cause
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
    # A pipe would lose the exit code, so it travels in a file.
    { airflow_install "$@" 2>&1; echo $? > "$airflow_log.code"; } | tee "$airflow_log"
    [ "$(cat "$airflow_log.code" 2>/dev/null || echo 97)" = 0 ] && rm -f "$airflow_log" "$airflow_log.code" && return
    # A repository that was not reached has no package either, and may be reached by another attempt.
    airflow_cause=$(airflow_said "$airflow_unreached")
    [ -n "$airflow_cause" ] && airflow_fail 98 "could not install packages: $airflow_cause"
    airflow_cause=$(airflow_said "$airflow_missing")
    [ -n "$airflow_cause" ] && airflow_fail 97 "could not install packages: $airflow_cause"
    airflow_fail 98 "could not install packages: $(tail -n 1 "$airflow_log")"
}

# Words of apt, apk, dnf and microdnf, in this order.
airflow_unreached='failed to fetch|temporary failure|temporary error|network error|failed to download metadata|cannot download repomd'
airflow_missing='unable to locate package|has no installation candidate|no such package|unable to find a match|no match for argument|no package|none of apt-get'

airflow_said() { # extended regular expression: the last line of the installation with it, without blanks in front
    grep -i -E "$1" "$airflow_log" | tail -n 1 | sed 's/^ *//'
}

if [ -n "$AIRFLOW_SCRIPT_PACKAGES" ]; then
    echo "::group::Installing packages: $AIRFLOW_SCRIPT_PACKAGES"
    # The names are words by construction; splitting is meant.
    # shellcheck disable=SC2086
    airflow_packages $AIRFLOW_SCRIPT_PACKAGES </dev/null
    echo "::endgroup::$AIRFLOW_SCRIPT_MARK"
fi
if [ -n "$AIRFLOW_SCRIPT_TARGET" ]; then
    export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$AIRFLOW_SCRIPT_TARGET" PATH="$PATH:$AIRFLOW_SCRIPT_TARGET/bin"
fi
unset AIRFLOW_SCRIPT_PACKAGES AIRFLOW_SCRIPT_TARGET AIRFLOW_SCRIPT_MARK
exec "$@"
