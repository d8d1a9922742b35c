# This file is sent through stdin, before the code that calls these functions.
# airflow_nonce: marks our lines; airflow_dir: the working directory;
# airflow_folder: the private folder, empty until it is made.

airflow_fail() { # $1: the step that failed
    printf '%s failed %s\n' "$airflow_nonce" "$1"
    [ -z "$airflow_folder" ] || rm -rf -- "$airflow_folder"
    exit 125
}

airflow_say() { # announces this process; if it leads its group, with group and start time
    IFS= read -r airflow_stat < "/proc/$$/stat"
    # The name in brackets may contain any character, so the text after the last bracket is read.
    # shellcheck disable=SC2086
    set -- ${airflow_stat##*) }
    if [ "$3" = "$$" ]; then
        printf '%s started %s %s\n' "$airflow_nonce" "$3" "${20}"
    else
        printf '%s started\n' "$airflow_nonce"
    fi
}

airflow_enter() {
    CDPATH='' cd -- "$airflow_dir" >/dev/null 2>&1
}

airflow_make_folder() {
    for airflow_parent in /dev/shm "${TMPDIR:-/tmp}" /tmp; do
        airflow_folder=$airflow_parent/airflow-script-$airflow_nonce
        (umask 077 && mkdir -- "$airflow_folder") 2>/dev/null && return
    done
    airflow_folder=
    airflow_fail folder
}

airflow_report() { # $1: the program's exit code, and TERM if this shell got SIGTERM
    trap - PIPE # a closed stdout ends this shell, instead of failing for a minute
    # A program may leave stdout full and non-blocking: then printf fails, and writes nothing.
    airflow_tries=600
    until printf '\036%s ended %s\n' "$airflow_nonce" "$1"; do
        airflow_tries=$((airflow_tries - 1))
        [ "$airflow_tries" -gt 0 ] || return
        sleep 0.1 || sleep 1 || return
    done
}
