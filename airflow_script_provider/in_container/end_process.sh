# Ends a process and its group, or only checks whether the process is running.
# $1: end or look; $2: the group; $3: start time of its leader;
# $4: tenths of a second until KILL; $5: folder to remove.
# Prints gone, running, ended, killed or left.

airflow_group=$2
airflow_started=$3

airflow_is_replaced() { # whether another process has the number now
    { IFS= read -r airflow_stat < "/proc/$airflow_group/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086
    set -- ${airflow_stat##*) }
    [ "${20}" != "$airflow_started" ]
}

airflow_lives() { # whether the group has a process that is not a zombie
    for airflow_file in /proc/[0-9]*/stat; do
        { IFS= read -r airflow_stat < "$airflow_file"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${airflow_stat##*) }
        [ "$3" = "$airflow_group" ] && [ "$1" != Z ] && [ "$1" != X ] && return 0
    done
    return 1
}

airflow_wait() { # $1: tenths of a second in which the group must end
    airflow_left=$1
    while airflow_lives; do
        [ "$airflow_left" -gt 0 ] || return 1
        if sleep 0.1 2>/dev/null; then
            airflow_left=$((airflow_left - 1))
        else
            sleep 1
            airflow_left=$((airflow_left - 10))
        fi
    done
}

airflow_end() { # $1: tenths of a second until KILL
    kill -s TERM -- "-$airflow_group" 2>/dev/null
    airflow_wait "$1" && echo ended && return
    kill -s KILL -- "-$airflow_group" 2>/dev/null
    if airflow_wait 20; then echo killed; else echo left; fi
}

if airflow_is_replaced || ! airflow_lives; then
    airflow_state=gone
elif [ "$1" = look ]; then
    airflow_state=running
else
    trap '' HUP PIPE
    airflow_state=$(airflow_end "$4")
fi
[ -z "$5" ] || rm -rf -- "/dev/shm/$5" "${TMPDIR:-/tmp}/$5" "/tmp/$5"
echo "$airflow_state"
