# Runs one MySQL server for as long as somebody holds its lifeline, then kills it and removes its folder.
#
#   supervisor.sh FOLDER PROGRAM [ARGUMENT…]
#
# Standard input is the lifeline: a FIFO in FOLDER that each user of the server keeps open for writing. The
# kernel closes it for a user that dies in whatever way, SIGKILL included, so that no server outlives its users.
#
# Words on the lifeline: `start` (again after the server has died), `here` (a new user), `keep` (let go of it).
# Files in FOLDER: pid.N and exit.N of the Nth start; `open`, on a shared server, while it takes new users.
set -u
folder=$1
shift
generation=0

launch() {
    generation=$((generation + 1))
    (
        # A limit of file sizes is a full disk to the server, and no reason to die.
        trap '' XFSZ
        sh -c 'echo $$ >"$1.new" && mv "$1.new" "$1" && shift && exec "$@"' sh "$folder/pid.$generation" "$@"
        echo $? >"$folder/exit.new"
        mv "$folder/exit.new" "$folder/exit.$generation"
    ) </dev/null >>"$folder/error.log" 2>&1 &
}

finish() {
    trap '' HUP INT TERM
    if [ "$generation" -gt 0 ]; then
        until [ -e "$folder/pid.$generation" ] || [ -e "$folder/exit.$generation" ]; do sleep 0.1; done
        [ -e "$folder/exit.$generation" ] || kill -9 "$(cat "$folder/pid.$generation")"
        wait
    fi
    rm -rf "$folder"
    exit 0
}
trap finish HUP INT TERM

while :; do
    if read -r word; then
        case $word in
            start) wait; launch "$@" ;;
            keep) exit 0 ;;
        esac
    elif [ -e "$folder/open" ]; then
        # The next test's process may be on its way: a second's patience. Who opens the lifeline looks for `open`
        # afterwards, and here the lifeline is looked at after `open` is gone: one of the two sees the other.
        sleep 1
        read -r word && continue
        rm "$folder/open"
        read -r word || finish
        : >"$folder/open"
    else
        finish
    fi
done
