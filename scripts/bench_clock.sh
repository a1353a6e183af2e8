#!/usr/bin/env bash
# How long scripts/bench.sh will take, how far it is, and what to shorten. Sourced by it.
#
# Before the first run all rounds are walked through with `planning` set: `measure` then only tells
# `clock_spend` what the run would take. From these costs come the length of a run that fits into
# the budget, and the progress lines.
# shellcheck disable=SC2034

planning=0
planned_ms=0 done_ms=0
# Of `planned_ms`: how many times the measured seconds are in it, in thousandths.
stretches=0
# 0: as long as it takes.
budget_ms=0
clock_title=''

ms_of() { awk -v seconds="$1" 'BEGIN { printf "%d", seconds * 1000 }'; }

# clock_spend TITLE FIXED_MS STRETCHES: one run, planned or about to be done, takes FIXED_MS and
# STRETCHES / 1000 times the measured seconds.
clock_spend() {
    local ms=$(($2 + $3 * seconds_ms / 1000))
    if ((planning)); then
        planned_ms=$((planned_ms + ms)) stretches=$((stretches + $3))
        return
    fi
    if [[ $1 != "$clock_title" ]]; then
        clock_title=$1
        printf '%3d %%, %d min so far, about %s left: %s\n' $((100 * done_ms / (planned_ms + 1))) \
            $((($(clock_ms) - clock_start_ms) / 60000)) "$(minutes "$(clock_left_ms)")" "$1"
    fi
    done_ms=$((done_ms + ms))
}

clock_ms() { date +%s%3N; }

minutes() {
    if (($1 < 60000)); then echo "$((($1 + 999) / 1000)) s"; else echo "$((($1 + 30000) / 60000)) min"; fi
}

# What is left by the plan, corrected by what the plan was worth so far.
clock_left_ms() {
    local left=$((planned_ms - done_ms)) spent=$(($(clock_ms) - clock_start_ms))
    ((left > 0)) || left=0
    ((done_ms < 20000)) || left=$((left * spent / done_ms))
    echo "$left"
}

# Whether all that is left would take a sixth more than the budget allows.
clock_is_late() {
    ((budget_ms > 0 && $(clock_ms) - clock_start_ms + $(clock_left_ms) > budget_ms * 7 / 6))
}

clock_start() { clock_start_ms=$(clock_ms); }

# clock_fit BUDGET_MS LEAST_MS: the measured milliseconds with which the plan fits, at least
# LEAST_MS, into `seconds_ms`.
clock_fit() {
    local fixed=$((planned_ms - stretches * seconds_ms / 1000)) fitting
    ((planned_ms > $1 && stretches > 0)) || return 0
    fitting=$((($1 - fixed) * 1000 / stretches))
    ((fitting >= $2)) || fitting=$2
    ((fitting < seconds_ms)) || return 0
    seconds_ms=$fitting
    planned_ms=$((fixed + stretches * seconds_ms / 1000))
}
