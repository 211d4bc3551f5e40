//! The examples at the end of each command's help and man page.

pub(crate) const ARRIVAL: &str = "\
Examples:
  arrival demo                     see it work, without any privilege or device
  arrival status                   what runs, and what is held back
  arrival why gpsd                 why it runs or does not, and what to do
  arrival watch                    devices and services as they come and go
  arrival check                    mistakes in definitions
  arrival --root DIR status        the same of a private manager

Exit status:
  0 done; 1 failed; 2 wrong usage; 3 'status NAME': not running; 4 no such service or class;
  5 denied; 6 no manager answers; 7 this machine cannot; 8 mistakes in an input file";

pub(crate) const LIST: &str = "\
Examples:
  arrival list
  arrival list --json | jq -r '.services[] | select(.held_back) | .name'";

pub(crate) const STATUS: &str = "\
Examples:
  arrival status                   the manager and all services
  arrival status gpsd              one service in full
  arrival status gpsd >/dev/null || echo 'gpsd is not running'

Exit status:
  0 if every named service is RUNNING, 3 if one is not, 4 if there is no such service";

pub(crate) const WHY: &str = "\
Examples:
  arrival why gpsd
  arrival why gpsd --json | jq -r .answer";

pub(crate) const WATCH: &str = "\
Examples:
  arrival watch                            everything, beginning with what is present
  arrival watch --class net --no-states    network interfaces only
  arrival watch --no-snapshot --json | jq -r 'select(.kind == \"arrival\").interface.link'

The output goes on when the manager is restarted: a line 'resync' comes, then the differences.
Times are in UTC. Ctrl-C ends it.";

pub(crate) const DEVICES: &str = "\
Examples:
  arrival devices
  arrival devices --class comport
  arrival devices --long                   with links and ids, as triggers use them
  arrival devices --json | jq -r '.interfaces[].link'";

pub(crate) const CLASSES: &str = "\
Examples:
  arrival classes";

pub(crate) const TRIGGERS: &str = "\
Examples:
  arrival triggers
  arrival triggers gpsd";

pub(crate) const SOURCES: &str = "\
Examples:
  arrival sources
  arrival sources --json

A source is off while no definition needs it, and failed if it cannot run; the log says so too.";

pub(crate) const EVENT: &str = "\
Examples:
  arrival event write {8d5b7f06-0c3e-4f0d-9e8a-5c2f5a1f6f11} --text ready
  arrival event write {8d5b7f06-0c3e-4f0d-9e8a-5c2f5a1f6f11} --level 2 --keyword 0x5 --bytes deadbeef

Only root, and services whose definition provides the GUID, may write its events.";

pub(crate) const START: &str = "\
Examples:
  arrival start gpsd
  arrival start gpsd --no-wait
  arrival start importer -- --verbose      arguments for a service with the control protocol

A service that runs already is left alone, and that is no error.";

pub(crate) const STOP: &str = "\
Examples:
  arrival stop gpsd
  arrival stop gpsd --timeout 5

A stopped service stays stopped until its next device arrives or somebody starts it. To keep it
stopped, use 'arrival disable' too. A service that does not run is left alone, and that is no error.";

pub(crate) const ENABLE: &str = "\
Examples:
  arrival enable gpsd";

pub(crate) const DISABLE: &str = "\
Examples:
  arrival disable gpsd && arrival stop gpsd";

pub(crate) const CHECK: &str = "\
Examples:
  arrival check                            all files of the system's configuration
  arrival check ./gpsd.toml
  arrival --root DIR check

Exit status:
  0 if there are no errors (warnings may be), 8 if there are";

pub(crate) const INSTALL: &str = "\
Examples:
  arrival install ./osrfx2.inf
  arrival install --dry-run ./osrfx2.inf    what would be installed, and what is wrong with the file
  arrival --root DIR install ./osrfx2.inf

A package is installed whole or not at all, into a folder of its own that is never changed. Installing
another version replaces it; what runs goes on until its next start.

Exit status:
  0 if it is installed; 5 without the right to; 8 if the file has errors or the package is refused";

pub(crate) const UNINSTALL: &str = "\
Examples:
  arrival uninstall osrfx2";

pub(crate) const PACKAGES: &str = "\
Examples:
  arrival packages
  arrival packages --json | jq -r '.packages[].folder'";

pub(crate) const VERIFY: &str = "\
Examples:
  arrival verify
  arrival verify osrfx2
  arrival verify --json | jq -r '.packages[] | .name as $name | .problems[] | $name + \": \" + .path'

What differs is put right by installing the package again.

Exit status:
  0 if all is as it was installed, 1 if something is missing, changed or added, 4 if there is no such
  package";

pub(crate) const INF: &str = "\
Examples:
  arrival inf check ./osrfx2.inf
  arrival inf explain ./osrfx2.inf";

pub(crate) const INF_CHECK: &str = "\
Examples:
  arrival inf check *.inf
  arrival inf check --windows --arch arm64 ./osrfx2.inf
  arrival inf check --json ./osrfx2.inf | jq -r '.problems[].code'

Codes that are numbers are those of Microsoft's InfVerif.

Exit status:
  0 if there are no errors (warnings may be), 8 if there are";

pub(crate) const INF_FMT: &str = "\
Examples:
  arrival inf fmt ./osrfx2.inf
  arrival inf fmt --check *.inf

Exit status:
  0 if all is laid out so; 1 with --check if a file would be changed; 8 if a file has mistakes of grammar";

pub(crate) const INF_EXPLAIN: &str = "\
Examples:
  arrival inf explain ./osrfx2.inf
  arrival inf explain --json ./osrfx2.inf | jq '.devices'

Exit status:
  0 if the file could be installed, 8 if it has errors";

pub(crate) const EXPORT: &str = "\
Examples:
  arrival export gpsd --inf > gpsd.inf
  arrival export gpsd --reg > gpsd.reg
  arrival export ./gpsd.reg --toml > /etc/arrival/services.d/gpsd.toml

Each form reads as the same definition; what a form cannot say is refused and not left out.";

pub(crate) const RELOAD: &str = "\
Examples:
  arrival reload

Changed files are noticed without it; this waits until they have been read and shows mistakes.";

pub(crate) const INFO: &str = "\
Examples:
  arrival info
  arrival info --json | jq .counters.overruns";

pub(crate) const SHUTDOWN: &str = "\
Examples:
  arrival shutdown

To end the manager and leave the services running, send it SIGTERM.";

pub(crate) const DEMO: &str = "\
Examples:
  arrival demo
  arrival demo --fast --json | jq -c '[.kind, .subject, .after_ns]'

It needs no privilege where users may make namespaces, and takes about eight seconds.

Exit status:
  0 if everything happened as told, 1 if something did not, 7 if this machine allows no namespaces";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  arrival completions bash > ~/.local/share/bash-completion/completions/arrival
  arrival completions zsh > ~/.zfunc/_arrival
  arrival completions fish > ~/.config/fish/completions/arrival.fish";

pub(crate) const MAN: &str = "\
Examples:
  arrival man /usr/local/share/man/man1";
