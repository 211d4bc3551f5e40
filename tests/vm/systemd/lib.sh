# What the cases of the booted Debian are written with: `sh /lib.sh NAME` runs one. Its systemd is the first process,
# and the package is installed where a case asks for it.
#
#   installed                         the package is, and its manager is ready
#   define SERVICE 'TRIGGER'          a recording service with this trigger, in /etc/arrival
#   wait_state SERVICE STATE, pid_of SERVICE, noted SERVICE WORD
#   same WHAT WANTED FOUND, until_so WHAT COMMAND..., not COMMAND...
#   stick_in, stick_out               a USB stick, through the monitor of the virtual machine
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
NAME=$1
# Under emulation everything takes its time.
PATIENCE=90

fail() {
    trap - EXIT
    echo "$*" > /tmp/why
    echo "FAILED $NAME: $*"
    systemctl status --no-pager arrivald
    journalctl --no-pager -n 40 -u arrivald
    arrival status
    cat /tmp/*.record 2>/dev/null
    exit 1
}

same() {
    [ "$2" = "$3" ] || fail "$1: wanted '$2', found '$3'"
}

not() {
    ! "$@"
}

until_so() {
    what=$1
    shift
    end=$(($(date +%s) + PATIENCE))
    until "$@"; do
        [ "$(date +%s)" -lt $end ] || fail "waited in vain until $what"
        sleep 0.1
    done
}

qmp() {
    echo "qmp $1" >&3
    read -r answer <&3
    [ "$answer" = ok ] || fail "the monitor refused $1: $answer"
}

stick_in() {
    qmp '{"execute":"device_add","arguments":{"id":"stick1","driver":"usb-storage","drive":"stick1","bus":"xhci.0"}}'
}

stick_out() {
    qmp '{"execute":"device_del","arguments":{"id":"stick1"}}'
}

installed() {
    dpkg -s arrival > /dev/null 2>&1 || dpkg -i /arrival.deb || fail "it cannot be installed"
    until_so "the manager is ready" systemctl is-active --quiet arrivald
}

define() {
    printf '[service]\nexec = ["/usr/bin/arrival-recorder", "/tmp/%s.record"]\nuser = "root"\n[[start]]\n%s\n' "$1" "$2" \
        > "/etc/arrival/services.d/$1.toml"
    : > "/tmp/$1.record"
}

state_of() {
    arrival status "$1" --json | tr -d ' \n' | sed 's/.*"state":"\([A-Z_]*\)".*/\1/'
}

pid_of() {
    arrival status "$1" --json | tr -d ' \n' | sed 's/.*"pid":\([0-9]*\).*/\1/'
}

is_in() {
    [ "$(state_of "$1")" = "$2" ]
}

wait_state() {
    until_so "$1 is $2" is_in "$1" "$2"
}

noted() {
    grep -c "^$2" "/tmp/$1.record"
}

main_pid() {
    systemctl show --value --property MainPID arrivald
}

trap 'fail "the script ended"' EXIT
rm -f /tmp/why
. "/cases/$NAME/run"
trap - EXIT
exit 0
