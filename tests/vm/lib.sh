# What cases are written with. `sh /lib.sh NAME` runs one: it has a manager's root of its own in $ROOT,
# which is started by `manager`, and everything it made is gone and looked for at the end.
#
#   define SERVICE 'TRIGGER' [KEYS]   a recording service with these triggers (and keys of [service])
#   class NAME 'MATCH'                a class file
#   manager [ARGUMENT...]             starts arrivald and waits until it answers
#   wait_state SERVICE STATE          waits, or fails
#   starts SERVICE N                  its program has noted so many starts, which are counted in a file
#   same WHAT WANTED FOUND            fails if they differ
#   until_so WHAT COMMAND...          waits until the command succeeds, or fails
#   kernel_said ACTION PATH           how often the kernel said so, by udevadm's own reader
#   watch_begin, watched N PATTERN    a stream of what happens; waits until N of its lines fit
#   qmp JSON                          asks the monitor of the virtual machine
#   rig WORD...                       a device that arrival-rig makes; RIG is the process that keeps it
#   keep NAME LINE                    adds a line to a file that outlives the machine (target/vm/kept/WAY)
#   board, plug_board, plug ID ...    see below
PATH=/bin:/sbin
NAME=$1
ROOT=/tmp/$NAME
export ARRIVAL_ROOT=$ROOT
# Under emulation everything takes its time.
PATIENCE=60

fail() {
    trap - EXIT
    echo "$*" > /tmp/why
    echo "FAILED $NAME: $*"
    arrival status
    tail -n 40 "$ROOT/manager.log"
    tail -n 40 "$ROOT/watch.log" 2>/dev/null
    cat "$ROOT"/*.record 2>/dev/null
    tail -n 20 "$ROOT/kernel.log"
    ps -o pid,ppid,args | grep -v '\['
    find /sys/fs/cgroup -mindepth 1 -type d
    clean
    exit 1
}

not_here() {
    trap - EXIT
    echo "$*" > /tmp/why
    clean
    exit 77
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
    read -r now rest < /proc/uptime
    end=$((${now%.*} + PATIENCE))
    until "$@"; do
        read -r now rest < /proc/uptime
        [ ${now%.*} -lt $end ] || fail "waited in vain until $what"
        usleep 50000
    done
}

# --- the manager

define() {
    keys=${3:-}
    options=${4:-}
    cat > "$ROOT/services.d/$1.toml" <<EOF
[service]
exec = ["/bin/arrival-recorder", "$ROOT/$1.record"$options]
user = "root"
$keys
[[start]]
$2
EOF
    : > "$ROOT/$1.record"
}

class() {
    printf '[class]\nname = "%s"\n[match]\n%s\n' "$1" "$2" > "$ROOT/classes.d/$1.toml"
}

manager() {
    [ "$WAY" = udevd ] || set -- --no-udev "$@"
    arrivald --root "$ROOT" "$@" >> "$ROOT/manager.log" 2>&1 </dev/null &
    MANAGER=$!
    MANAGERS=$((${MANAGERS:-0} + 1))
    until_so "the manager is ready" is_ready
}

is_ready() {
    [ "$(grep -c ' ready: ' "$ROOT/manager.log")" = $MANAGERS ] && answers
}

answers() {
    arrival list > /dev/null 2>&1
}

state_of() {
    arrival status "$1" --json | tr -d ' \n' | sed 's/.*"state":"\([A-Z_]*\)".*/\1/'
}

# starts_of SERVICE: how often the manager says it has started it
starts_of() {
    arrival status "$1" --json | tr -d ' \n' | sed 's/.*"starts":\([0-9]*\).*/\1/'
}

pid_of() {
    arrival status "$1" --json | tr -d ' \n' | sed 's/.*"pid":\([0-9]*\).*/\1/'
}

# runs_noted SERVICE: its program has noted the run that the manager tells of
runs_noted() {
    grep -q "^start $(pid_of "$1") " "$ROOT/$1.record"
}

is_in() {
    [ "$(state_of "$1")" = "$2" ]
}

wait_state() {
    until_so "$1 is $2" is_in "$1" "$2"
}

noted() {
    grep -c "^$2" "$ROOT/$1.record"
}

has_noted() {
    [ "$(noted "$1" "$2")" = "$3" ]
}

starts() {
    until_so "$1 has started $2 times" has_noted "$1" start "$2"
}

watch_begin() {
    arrival watch --json > "$ROOT/watch.log" 2>/dev/null &
    WATCH=$!
    until_so "the stream has begun" grep -q snapshot "$ROOT/watch.log"
}

fits() {
    [ "$(grep -c "$2" "$ROOT/watch.log")" -ge "$1" ]
}

watched() {
    until_so "$1 records of $2" fits "$1" "$2"
}

# --- the kernel, as somebody else hears it

kernel_said() {
    grep -c "^KERNEL.* $1 *[^ ]*$2 " "$ROOT/kernel.log"
}

kernel_has_said() {
    [ "$(kernel_said "$2" "$3")" -ge "$1" ]
}

# --- USB boards: gadgets on dummy_hcd, 0547:1002

# board N FUNCTION...: makes board N (1 or 2), not yet plugged in
board() {
    gadget=/sys/kernel/config/usb_gadget/board$1
    mkdir $gadget
    echo 0x0547 > $gadget/idVendor
    echo 0x1002 > $gadget/idProduct
    echo 0x0210 > $gadget/bcdDevice
    mkdir $gadget/strings/0x409 $gadget/configs/c.1
    echo "OSR" > $gadget/strings/0x409/manufacturer
    number=$1
    shift
    # Several functions make a composite device with interface associations.
    if [ $# -gt 1 ]; then
        echo 0xEF > $gadget/bDeviceClass
        echo 2 > $gadget/bDeviceSubClass
        echo 1 > $gadget/bDeviceProtocol
    fi
    for function in "$@"; do
        mkdir "$gadget/functions/$function.b$number"
        if [ "$function" = mass_storage ]; then
            [ -f /tmp/disk.img ] || truncate -s 8M /tmp/disk.img
            echo 1 > "$gadget/functions/$function.b$number/lun.0/removable"
            echo /tmp/disk.img > "$gadget/functions/$function.b$number/lun.0/file"
        fi
        ln -s "$gadget/functions/$function.b$number" "$gadget/configs/c.1/$function.b$number"
    done
}

plug_board() {
    echo "dummy_udc.$(($1 - 1))" > /sys/kernel/config/usb_gadget/board$1/UDC
}

# board_devices: the devices that boards are, as the kernel has them
board_devices() {
    grep -l 1002 /sys/bus/usb/devices/*/idProduct 2>/dev/null | sed 's,/idProduct$,,'
}

board_is_there() {
    [ -n "$(board_devices)" ]
}

unplug_board() {
    echo > /sys/kernel/config/usb_gadget/board$1/UDC
}

remove_boards() {
    for gadget in /sys/kernel/config/usb_gadget/board*; do
        [ -d $gadget ] || continue
        [ -z "$(cat $gadget/UDC)" ] || echo > $gadget/UDC
        rm -f $gadget/configs/c.1/*.b?
        rmdir $gadget/configs/c.1 $gadget/functions/* $gadget/strings/0x409 $gadget
    done
}

# --- devices of the virtual machine

qmp() {
    echo "qmp $1" >&3
    read -r answer <&3
    [ "$answer" = ok ] || fail "the monitor refused $1: $answer"
}

keep() {
    echo "keep $1 $2" >&3
}

# plug ID 'ARGUMENTS', such as '"driver":"usb-kbd","bus":"xhci.0"'
plug() {
    qmp "{\"execute\":\"device_add\",\"arguments\":{\"id\":\"$1\",$2}}"
    PLUGGED="$PLUGGED $1"
}

unplug() {
    qmp "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"$1\"}}"
    PLUGGED=$(echo " $PLUGGED " | sed "s/ $1 / /")
}

# partition_table FILE: one primary partition from sector 8, of 1000 sectors, type 83
partition_table() {
    printf '\000\000\000\000\203\000\000\000\010\000\000\000\350\003\000\000' |
        dd of="$1" bs=1 seek=446 conv=notrunc 2>/dev/null
    printf '\125\252' | dd of="$1" bs=1 seek=510 conv=notrunc 2>/dev/null
}

# --- devices of user space

rig() {
    : > "$ROOT/rig.log"
    arrival-rig "$@" > "$ROOT/rig.log" 2>&1 &
    RIG=$!
    RIGS="$RIGS $RIG"
    until_so "the device $2 is made" grep -q ready "$ROOT/rig.log"
}

# unrig PROCESS: the device goes with the process that keeps it
unrig() {
    kill "$1"
    wait "$1"
}

# A report descriptor with two top-level collections: a keyboard, and the keys of a consumer control.
KEYBOARD=05010906a1018501050719e029e71500250175019508810295067508150025650507190029658100c0
CONTROL=050c0901a1018502150026ff0319002aff03751095018100c0

# --- beginning and end

clean() {
    [ -z "$WATCH" ] || kill $WATCH 2>/dev/null
    # A manager that a case has stopped answers nobody.
    [ -z "$MANAGER" ] || kill -CONT $MANAGER 2>/dev/null
    arrival shutdown > /dev/null 2>&1
    kill $MONITOR $RIGS 2>/dev/null
    wait
    remove_boards
    for adapter in /sys/bus/pseudo/devices/adapter*; do
        [ ! -e "$adapter" ] || echo -1 > /sys/bus/pseudo/drivers/scsi_debug/add_host
    done
    for id in $PLUGGED; do
        unplug "$id"
    done
    PLUGGED=
}

# running TEXT: how many processes have it in one word of their command line; without a fork for each
running() {
    count=0
    for process in /proc/[0-9]*; do
        line=
        # It leaves out the zeros between the words.
        read -r line < "$process/cmdline"
        case $line in *"$1"*) count=$((count + 1)) ;; esac
    done 2>/dev/null
    echo $count
}

nothing_left() {
    [ "$(running "$ROOT/")" = 0 ] &&
        [ ! -e "$ROOT/run/control" ] &&
        [ -z "$(find /sys/fs/cgroup -mindepth 2 -type d -path '*arrival*')" ]
}

# A mistake in a script ends it, too.
trap 'fail "the script ended"' EXIT
rm -f /tmp/why
mkdir -p "$ROOT/services.d" "$ROOT/classes.d"
udevadm monitor --kernel > "$ROOT/kernel.log" 2>&1 &
MONITOR=$!
until_so "udevadm listens" grep -q "^KERNEL" "$ROOT/kernel.log"
. "/cases/$NAME/run"
[ "$WAY" != udevd ] || udevadm settle
clean
until_so "nothing is left" nothing_left
rm -rf "$ROOT"
trap - EXIT
exit 0
