# Ends a process and its session, or only checks whether they are running.
# $1: end or look; $2: the process, which leads a group and a session; $3: its start time;
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

# A program such as timeout puts itself into a group of its own, in the same session. The script's
# own group comes first: it would see its children end before it is told to end itself.
airflow_find() { # whether a process is left that is not a zombie; sets the groups of them all
    airflow_found=
    for airflow_file in /proc/[0-9]*/stat; do
        { IFS= read -r airflow_stat < "$airflow_file"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${airflow_stat##*) }
        [ "$3" = "$airflow_group" ] || [ "$4" = "$airflow_group" ] || continue
        case "$1 $airflow_found " in
            [ZX]\ * | *" -$3 "*) continue ;;
        esac
        if [ "$3" = "$airflow_group" ]; then
            airflow_found="-$3 $airflow_found"
        else
            airflow_found="$airflow_found -$3"
        fi
    done
    [ -n "$airflow_found" ]
}

airflow_signal() { # $1: the signal for the groups that were found
    # shellcheck disable=SC2086
    kill -s "$1" -- $airflow_found 2>/dev/null
}

airflow_wait() { # $1: tenths of a second in which they must end; $2: a signal to repeat
    airflow_left=$1
    while airflow_find; do
        [ "$airflow_left" -gt 0 ] || return 1
        [ -z "$2" ] || airflow_signal "$2"
        if sleep 0.1 2>/dev/null; then
            airflow_left=$((airflow_left - 1))
        else
            sleep 1
            airflow_left=$((airflow_left - 10))
        fi
    done
}

airflow_end() { # $1: tenths of a second until KILL
    airflow_signal TERM
    airflow_wait "$1" && echo ended && return
    # What is started meanwhile gets it as well.
    if airflow_wait 20 KILL; then echo killed; else echo left; fi
}

if airflow_is_replaced || ! airflow_find; then
    airflow_state=gone
elif [ "$1" = look ]; then
    airflow_state=running
else
    trap '' HUP PIPE
    airflow_state=$(airflow_end "$4")
fi
[ -z "$5" ] || rm -rf -- "/dev/shm/$5" "${TMPDIR:-/tmp}/$5" "/tmp/$5"
echo "$airflow_state"
