#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::built_in::read;
use super::*;
use crate::device::Properties;

/// Windows' symbols and GUIDs, from its headers: ntddstor.h, ntddser.h, ntddpar.h, ntddmodm.h, usbiodef.h,
/// hidclass.h, ndisguid.h, ks.h, ksmedia.h, mmdeviceapi.h, poclass.h and so on.
const WINDOWS: &[(&str, &str, &str)] = &[
    (
        "disk",
        "GUID_DEVINTERFACE_DISK",
        "53f56307-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "partition",
        "GUID_DEVINTERFACE_PARTITION",
        "53f5630a-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "volume",
        "GUID_DEVINTERFACE_VOLUME",
        "53f5630d-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "zoned-disk",
        "GUID_DEVINTERFACE_ZNSDISK",
        "b87941c5-ffdb-43c7-b6b1-20b632f0b109",
    ),
    (
        "cdrom",
        "GUID_DEVINTERFACE_CDROM",
        "53f56308-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "floppy",
        "GUID_DEVINTERFACE_FLOPPY",
        "53f56311-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "tape",
        "GUID_DEVINTERFACE_TAPE",
        "53f5630b-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "medium-changer",
        "GUID_DEVINTERFACE_MEDIUMCHANGER",
        "53f56310-b6bf-11d0-94f2-00a0c91efb8b",
    ),
    (
        "enclosure",
        "GUID_DEVINTERFACE_SES",
        "1790c9ec-47d5-4df3-b5af-9adf3cf23e48",
    ),
    (
        "storage-port",
        "GUID_DEVINTERFACE_STORAGEPORT",
        "2accfe60-c130-11d2-b082-00a0c91efb8b",
    ),
    (
        "nvdimm",
        "GUID_DEVINTERFACE_SCM_PHYSICAL_DEVICE",
        "4283609d-4dc2-43be-bbb4-4f15dfce2c61",
    ),
    (
        "serial",
        "GUID_DEVINTERFACE_COMPORT",
        "86e0d1e0-8089-11d0-9ce4-08003e301f73",
    ),
    (
        "parallel",
        "GUID_DEVINTERFACE_PARALLEL",
        "97f76ef0-f883-11d0-af1f-0000f800845c",
    ),
    (
        "modem",
        "GUID_DEVINTERFACE_MODEM",
        "2c7089aa-2e0e-11d1-b114-00c04fc2aae4",
    ),
    (
        "usb-device",
        "GUID_DEVINTERFACE_USB_DEVICE",
        "a5dcbf10-6530-11d2-901f-00c04fb951ed",
    ),
    (
        "usb-hub",
        "GUID_DEVINTERFACE_USB_HUB",
        "f18a0e88-c30c-11d0-8815-00a0c906bed8",
    ),
    (
        "usb-controller",
        "GUID_DEVINTERFACE_USB_HOST_CONTROLLER",
        "3abf6f2d-71c4-462a-8a92-1e6861e6af27",
    ),
    (
        "hid",
        "GUID_DEVINTERFACE_HID",
        "4d1e55b2-f16f-11cf-88cb-001111000030",
    ),
    (
        "keyboard",
        "GUID_DEVINTERFACE_KEYBOARD",
        "884b96c3-56ef-11d1-bc8c-00a0c91405dd",
    ),
    (
        "mouse",
        "GUID_DEVINTERFACE_MOUSE",
        "378de44c-56ef-11d1-bc8c-00a0c91405dd",
    ),
    (
        "net",
        "GUID_DEVINTERFACE_NET",
        "cac88484-7515-4c03-82e6-71a87abac361",
    ),
    (
        "bluetooth",
        "GUID_BTHPORT_DEVICE_INTERFACE",
        "0850302a-b344-4fda-9be9-90576b8d46f0",
    ),
    (
        "nfc",
        "GUID_DEVINTERFACE_NFP",
        "fb3842cd-9e2a-4f83-8fcc-4b0761139ae9",
    ),
    (
        "gnss",
        "GUID_DEVINTERFACE_GNSS",
        "3336e5e4-018a-4669-84c5-bd05f3bd368b",
    ),
    (
        "firewire",
        "BUS1394_CLASS_GUID",
        "6bdd1fc1-810f-11d0-bec7-08002be2092f",
    ),
    (
        "camera",
        "KSCATEGORY_VIDEO_CAMERA",
        "e5323777-f976-4f5b-9b55-b94699c46e44",
    ),
    (
        "image",
        "GUID_DEVINTERFACE_IMAGE",
        "6bdd1fc6-810f-11d0-bec7-08002be2092f",
    ),
    (
        "tuner",
        "KSCATEGORY_BDA_NETWORK_TUNER",
        "71985f48-1ca1-11d3-9cc8-00c04f7971e0",
    ),
    (
        "audio",
        "KSCATEGORY_AUDIO",
        "6994ad04-93ef-11d0-a3cc-00a0c9223196",
    ),
    (
        "audio-render",
        "DEVINTERFACE_AUDIO_RENDER",
        "e6327cad-dcec-4949-ae8a-991e976a79d2",
    ),
    (
        "audio-capture",
        "DEVINTERFACE_AUDIO_CAPTURE",
        "2eef81be-33fa-4800-9670-1cd474972c3f",
    ),
    (
        "midi-out",
        "DEVINTERFACE_MIDI_OUTPUT",
        "6dc23320-ab33-4ce4-80d4-bbb3ebbf2814",
    ),
    (
        "midi-in",
        "DEVINTERFACE_MIDI_INPUT",
        "504be32c-ccf6-4d2c-b73f-6f8b3747e22b",
    ),
    (
        "display",
        "GUID_DEVINTERFACE_DISPLAY_ADAPTER",
        "5b45201d-f2f2-4f3b-85bb-30ff1f953599",
    ),
    (
        "monitor",
        "GUID_DEVINTERFACE_MONITOR",
        "e6f07b5f-ee97-4a90-b076-33f57bf4eaa7",
    ),
    (
        "backlight",
        "GUID_DEVINTERFACE_BRIGHTNESS",
        "fde5bba4-b3f9-46fb-bdaa-0728ce3100b4",
    ),
    (
        "printer",
        "GUID_DEVINTERFACE_USBPRINT",
        "28d78fad-5a12-11d1-ae5b-0000f803a8c2",
    ),
    (
        "ipp-printer",
        "GUID_DEVINTERFACE_IPPUSB_PRINT",
        "f2f40381-f46d-4e51-bce7-62de6cf2d098",
    ),
    (
        "battery",
        "GUID_DEVICE_BATTERY",
        "72631e54-78a4-11d0-bcf7-00aa00b7b32a",
    ),
    (
        "power-adapter",
        "GUID_DEVICE_POWER_ADAPTER",
        "f76c6c62-7dea-43cd-8689-d9a4af3d8557",
    ),
    (
        "lid",
        "GUID_DEVICE_LID",
        "4afa3d52-74a7-11d0-be5e-00a0c9062857",
    ),
    (
        "button",
        "GUID_DEVICE_SYS_BUTTON",
        "4afa3d53-74a7-11d0-be5e-00a0c9062857",
    ),
    (
        "thermal-zone",
        "GUID_DEVICE_THERMAL_ZONE",
        "4afa3d51-74a7-11d0-be5e-00a0c9062857",
    ),
    (
        "thermal-cooling",
        "GUID_DEVINTERFACE_THERMAL_COOLING",
        "dbe4373d-3c81-40cb-ace4-e0e5d05f0c9f",
    ),
    (
        "fan",
        "GUID_DEVICE_FAN",
        "05ecd13d-81da-4a2a-8a4c-524f23dd4dc9",
    ),
    (
        "processor",
        "GUID_DEVICE_PROCESSOR",
        "97fadb10-4e33-40ae-359c-8bef029dbdd0",
    ),
    (
        "vm-generation",
        "GUID_DEVINTERFACE_VM_GENCOUNTER",
        "3ff2c92b-6598-4e60-8e1c-0ccf4927e319",
    ),
    (
        "smart-card-reader",
        "GUID_DEVINTERFACE_SMARTCARD_READER",
        "50dd5230-ba8a-11d1-bf5d-0000f805f530",
    ),
    (
        "sensor",
        "GUID_DEVINTERFACE_SENSOR",
        "ba1bb692-9b7a-4833-9a1e-525ed134e7e2",
    ),
    (
        "pwm",
        "GUID_DEVINTERFACE_PWM_CONTROLLER",
        "60824b4c-eed1-4c9c-b49c-1b961461a819",
    ),
];

#[test]
fn the_data_file_is_sound_and_bears_windows_guids() {
    let list = read(BUILT_IN_TEXT).unwrap();
    let (mut guids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for BuiltIn { class, .. } in &list {
        assert!(is_class_name(&class.name), "{}", class.name);
        class.when.check(&class.name).unwrap();
        assert!(guids.insert(class.guid), "{}", class.name);
        for name in class.aliases.iter().chain([&class.name]) {
            assert!(names.insert(name.to_ascii_lowercase()), "{name}");
        }
        let windows = WINDOWS.iter().find(|(name, ..)| *name == class.name);
        match windows {
            Some((_, symbol, guid)) => {
                assert_eq!(class.guid, guid.parse().unwrap(), "{}", class.name);
                assert!(class.aliases.iter().any(|alias| alias == symbol));
            }
            None => assert_eq!(class.guid, derived_guid(&class.name), "{}", class.name),
        }
    }
    assert_eq!(
        list.iter().filter(|known| is_windows(&known.class)).count(),
        WINDOWS.len()
    );
}

fn is_windows(class: &Class) -> bool {
    WINDOWS.iter().any(|(name, ..)| *name == class.name)
}

/// A device as one line: `DEVPATH SUBSYSTEM [driver=D] [node] KEY=VALUE... name:VALUE...`, where
/// upper case is the uevent file and the rest are attributes; a blank in a value is written `%`.
fn device(line: &str, parent: Option<DeviceRecord>) -> DeviceRecord {
    let mut words = line.split(' ');
    let mut made = DeviceRecord {
        devpath: words.next().unwrap().to_owned(),
        subsystem: words.next().unwrap().to_owned(),
        parent: parent.map(Arc::new),
        ..DeviceRecord::default()
    };
    let (mut properties, mut attributes) = (Vec::new(), Vec::new());
    for word in words {
        if let Some(driver) = word.strip_prefix("driver=") {
            made.driver = Some(driver.to_owned());
        } else if word == "node" {
            made.node = Some(format!("/dev/{}", made.name()));
        } else if let Some((key, value)) = word.split_once(':') {
            attributes.push((key.to_owned(), value.replace('%', " ")));
        } else if let Some((key, value)) = word.split_once('=') {
            properties.push((key.to_owned(), value.replace('%', " ")));
        }
    }
    made.properties = properties.into_iter().collect::<Properties>();
    made.attributes = attributes.into_iter().collect();
    made.devtype = made.property("DEVTYPE").map(str::to_owned);
    made
}

/// The classes of a device that stands below others, the farthest first, one a line.
fn classes_of(lines: &str) -> String {
    let mut at = None;
    for line in lines.lines() {
        at = Some(device(line, at));
    }
    let exposed = Classes::built_in().interfaces_of(&at.unwrap());
    let mut names: Vec<String> = exposed.into_iter().map(|found| found.class_name).collect();
    names.dedup();
    names.join(" ")
}

const PCI: &str = "/devices/pci0/0000:00:03.0 pci PCI_ID=8086:10D3 PCI_CLASS=20000";
const STICK: &str = "/devices/pci0/usb1/1-1 usb driver=usb DEVTYPE=usb_device PRODUCT=46f4/1/0 TYPE=0/0/0 authorized:1";
const KEYS: &str = "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe";

/// What a device is, with its classes; each class stands at least once, and each device is a
/// negative of all others.
const TABLE: &[(&str, &str)] = &[
    // Storage.
    (
        "/devices/x/host0 s\n/devices/x/0:0:0:0 scsi DEVTYPE=scsi_device type:0\n/devices/x/block/sda block node DEVTYPE=disk size:2048",
        "disk",
    ),
    (
        "/devices/x/0:0:0:0 scsi DEVTYPE=scsi_device type:0\n/devices/x/block/sdb block node DEVTYPE=disk size:0",
        "disk",
    ),
    (
        "/devices/x/0:0:0:0 scsi DEVTYPE=scsi_device type:5\n/devices/x/block/sr0 block node DEVTYPE=disk size:2048",
        "cdrom",
    ),
    (
        "/devices/virtual/block/ram0 block node DEVTYPE=disk size:8192",
        "",
    ),
    (
        "/devices/virtual/block/zram0 block node DEVTYPE=disk size:8192",
        "",
    ),
    (
        "/devices/virtual/block/loop0 block node DEVTYPE=disk size:0",
        "loop",
    ),
    (
        "/devices/virtual/block/loop1 block node DEVTYPE=disk size:8",
        "disk loop",
    ),
    (
        "/devices/virtual/block/dm-0 block node DEVTYPE=disk size:8192",
        "disk volume",
    ),
    (
        "/devices/x/block/sda block node DEVTYPE=disk size:2048\n/devices/x/block/sda/sda1 block node DEVTYPE=partition size:1024",
        "partition volume",
    ),
    (
        "/devices/x/block/sda block node DEVTYPE=disk size:2048\n/devices/x/block/sda/sda2 block node DEVTYPE=partition size:2",
        "partition",
    ),
    (
        "/devices/x/block/sdz block node DEVTYPE=disk size:2048 queue/zoned:host-managed",
        "disk zoned-disk",
    ),
    (
        "/devices/x/block/sdy block node DEVTYPE=disk size:2048 queue/zoned:none",
        "disk",
    ),
    (
        "/devices/platform/floppy.0 platform\n/devices/platform/floppy.0/block/fd0 block node DEVTYPE=disk size:8",
        "disk floppy",
    ),
    ("/devices/x/scsi_tape/st0 scsi_tape node", "tape"),
    ("/devices/x/scsi_tape/nst0 scsi_tape node", ""),
    (
        "/devices/x/scsi_changer/sch0 scsi_changer node",
        "medium-changer",
    ),
    ("/devices/x/enclosure/0:0:1:0 enclosure", "enclosure"),
    ("/devices/x/host0/scsi_host/host0 scsi_host", "storage-port"),
    ("/devices/ndbus0/nmem0 nd node DEVTYPE=nvdimm", "nvdimm"),
    (
        "/devices/x/nvme/nvme0 nvme node model:X firmware_rev:1",
        "nvme",
    ),
    // Ports.
    (
        "/devices/pnp0/00:03 pnp id:PNP0501\n/devices/pnp0/00:03/tty/ttyS0 tty node type:4",
        "serial",
    ),
    (
        "/devices/platform/serial8250 platform\n/devices/platform/serial8250/tty/ttyS1 tty node type:0",
        "",
    ),
    ("/devices/virtual/tty/tty1 tty node", ""),
    ("/devices/virtual/tty/ptmx tty node", ""),
    (
        "/devices/x/1-1:1.0 usb DEVTYPE=usb_interface INTERFACE=255/0/0\n/devices/x/1-1:1.0/ttyUSB0/tty/ttyUSB0 tty node",
        "serial",
    ),
    (
        "/devices/x/1-1:1.0 usb DEVTYPE=usb_interface INTERFACE=2/2/1\n/devices/x/1-1:1.0/tty/ttyACM0 tty node",
        "serial modem",
    ),
    (
        "/devices/x/1-1:1.0 usb DEVTYPE=usb_interface INTERFACE=2/2/0\n/devices/x/1-1:1.0/tty/ttyACM1 tty node",
        "serial",
    ),
    (
        "/devices/x/wwan/wwan0/wwan0at0 wwan node DEVTYPE=wwan_port",
        "modem",
    ),
    ("/devices/x/ppdev/parport0 ppdev node", "parallel"),
    // USB.
    (STICK, "usb-device"),
    (
        "/devices/x/1-1 usb DEVTYPE=usb_device PRODUCT=1/2/3 TYPE=0/0/0 authorized:1",
        "",
    ),
    (
        "/devices/x/1-1 usb driver=usb DEVTYPE=usb_device PRODUCT=1/2/3 TYPE=0/0/0 authorized:0",
        "",
    ),
    (
        "/devices/x/usb1 usb driver=usb DEVTYPE=usb_device PRODUCT=1d6b/2/601 TYPE=9/0/1 authorized:1",
        "usb-hub",
    ),
    (
        "/devices/pci0/0000:00:14.0 pci driver=xhci_hcd PCI_ID=8086:10D3 PCI_CLASS=C0330",
        "usb-controller",
    ),
    (
        "/devices/pci0/0000:00:14.0 pci PCI_ID=8086:10D3 PCI_CLASS=C0330",
        "",
    ),
    (PCI, ""),
    (
        "/devices/platform/dummy_hcd.0 platform driver=dummy_hcd",
        "usb-controller",
    ),
    (
        "/devices/platform/dummy_udc.0/udc/dummy_udc.0 udc",
        "usb-device-controller",
    ),
    // Network.
    ("/devices/virtual/net/lo net type:772", ""),
    ("/devices/pci0/0000:00:03.0/net/eth0 net type:1", "net"),
    (
        "/devices/virtual/net/tap0 net type:1 tun_flags:0x1002",
        "net tun",
    ),
    ("/devices/x/net/wlan0 net DEVTYPE=wlan type:1", "net wlan"),
    ("/devices/x/net/can0 net type:280", "net can"),
    (
        "/devices/x/bluetooth/hci0 bluetooth DEVTYPE=host",
        "bluetooth",
    ),
    (
        "/devices/x/bluetooth/hci0/hci0:12 bluetooth DEVTYPE=link",
        "",
    ),
    ("/devices/x/nfc/nfc0 nfc", "nfc"),
    ("/devices/x/gnss/gnss0 gnss node", "gnss"),
    ("/devices/x/fw0 firewire node", "firewire"),
    ("/devices/x/fw0/fw0.0 firewire", ""),
    // Pictures and sound.
    (
        "/devices/x/1-1:1.0 usb\n/devices/x/1-1:1.0/video4linux/video0 video4linux node index:0 name:Cam",
        "camera",
    ),
    (
        "/devices/x/1-1:1.0 usb\n/devices/x/1-1:1.0/video4linux/video1 video4linux node index:1 name:Cam",
        "",
    ),
    (
        "/devices/platform/vpu platform\n/devices/platform/vpu/video4linux/video2 video4linux node index:0 name:rk-vpu-dec",
        "",
    ),
    (
        "/devices/x/1-1:1.0 usb DEVTYPE=usb_interface INTERFACE=6/1/1",
        "image",
    ),
    ("/devices/x/dvb/dvb0.frontend0 dvb node", "tuner"),
    ("/devices/x/dvb/dvb0.demux0 dvb node", ""),
    ("/devices/x/sound/card0/controlC0 sound node", "audio"),
    ("/devices/x/sound/card0 sound", ""),
    ("/devices/x/sound/card0/pcmC0D0p sound node", "audio-render"),
    (
        "/devices/x/sound/card0/pcmC0D0c sound node",
        "audio-capture",
    ),
    (
        "/devices/x/sound/card1/midiC1D0 sound node",
        "midi-out midi-in",
    ),
    ("/devices/x/drm/card0 drm node", "display"),
    ("/devices/x/drm/renderD128 drm node", ""),
    (
        "/devices/x/drm/card0/card0-HDMI-A-1 drm status:connected",
        "monitor",
    ),
    (
        "/devices/x/drm/card0/card0-HDMI-A-2 drm status:disconnected",
        "",
    ),
    (
        "/devices/x/backlight/intel_backlight backlight",
        "backlight",
    ),
    // Printing.
    ("/devices/x/1-1:1.0/usbmisc/lp0 usbmisc node", "printer"),
    ("/devices/x/1-1:1.0/usbmisc/cdc-wdm0 usbmisc node", ""),
    (
        "/devices/x/1-1:1.1 usb DEVTYPE=usb_interface INTERFACE=7/1/4",
        "ipp-printer",
    ),
    (
        "/devices/x/1-1:1.0 usb DEVTYPE=usb_interface INTERFACE=7/1/2",
        "",
    ),
    // Power and the machine.
    (
        "/devices/x/power_supply/BAT0 power_supply type:Battery present:1",
        "battery",
    ),
    (
        "/devices/x/power_supply/BAT1 power_supply type:Battery present:0",
        "",
    ),
    (
        "/devices/x/power_supply/hidpp_battery_0 power_supply type:Battery scope:Device",
        "",
    ),
    (
        "/devices/x/power_supply/AC power_supply type:Mains",
        "power-adapter",
    ),
    (
        "/devices/virtual/thermal/thermal_zone0 thermal type:acpitz",
        "thermal-zone",
    ),
    (
        "/devices/virtual/thermal/cooling_device0 thermal type:Processor",
        "thermal-cooling",
    ),
    (
        "/devices/virtual/thermal/cooling_device1 thermal type:pwm-fan",
        "thermal-cooling fan",
    ),
    ("/devices/system/cpu/cpu0 cpu", "processor"),
    ("/devices/system/cpu/cpu1 cpu online:0", ""),
    (
        "/devices/LNXSYSTM:00/QEMUVGID:00 acpi driver=vmgenid MODALIAS=acpi:QEMUVGID:VM_GEN_COUNTER:",
        "vm-generation",
    ),
    ("/devices/x/tpm/tpm0 tpm node", "tpm"),
    ("/devices/x/rtc/rtc0 rtc node", "rtc"),
    ("/devices/x/watchdog/watchdog0 watchdog node", "watchdog"),
    // Readers, sensors, buses.
    (
        "/devices/x/1-1:1.0 usb DEVTYPE=usb_interface INTERFACE=11/0/0",
        "smart-card-reader",
    ),
    ("/devices/x/iio:device0 iio node", "sensor"),
    ("/devices/x/trigger0 iio", ""),
    ("/devices/x/gpiochip0 gpio node", "gpio"),
    ("/devices/x/i2c-dev/i2c-0 i2c-dev node", "i2c"),
    ("/devices/x/spidev/spidev0.0 spidev node", "spi"),
    ("/devices/x/pwm/pwmchip0 pwm", "pwm"),
    ("/devices/x/leds/led0 leds", "led"),
    ("/devices/x/uio/uio0 uio node", "uio"),
    // Input.
    ("/devices/x/hidraw/hidraw0 hidraw node", "hid"),
    (
        "/devices/x/input/input0 input capabilities/key:KEYS\n/devices/x/input/input0/event0 input node",
        "keyboard",
    ),
    ("/devices/x/input/input0 input capabilities/key:KEYS", ""),
    (
        "/devices/x/input/input1 input capabilities/key:1f0000%0%0%0%0 capabilities/rel:943\n/devices/x/input/input1/event1 input node",
        "mouse",
    ),
    (
        "/devices/x/input/input1 input capabilities/key:1f0000%0%0%0%0 capabilities/rel:943\n/devices/x/input/input1/mouse0 input node",
        "",
    ),
    (
        "/devices/x/input/input2 input capabilities/key:e520%10000%0%0%0%0 capabilities/abs:2e0800000000003 properties:5\n/devices/x/input/input2/event2 input node",
        "mouse",
    ),
    (
        "/devices/x/input/input3 input capabilities/key:400%0%0%0%0%0 capabilities/abs:260800000000003 properties:2\n/devices/x/input/input3/event3 input node",
        "touchscreen",
    ),
    (
        "/devices/x/input/input4 input capabilities/key:7cdb000000000000%0%0%0%0 capabilities/abs:3003f\n/devices/x/input/input4/event4 input node",
        "joystick",
    ),
    (
        "/devices/x/input/input5 input capabilities/sw:1 phys:PNP0C0D/button/input0\n/devices/x/input/input5/event5 input node",
        "lid",
    ),
    (
        "/devices/x/input/input6 input capabilities/key:10000000000000%0 phys:LNXPWRBN/button/input0\n/devices/x/input/input6/event6 input node",
        "button",
    ),
    (
        "/devices/x/input/input7 input capabilities/key:10000000000000%0 phys:gpio-keys/input0\n/devices/x/input/input7/event7 input node",
        "button",
    ),
    (
        "/devices/x/input/input8 input capabilities/key:1 phys:gpio-keys/input0\n/devices/x/input/input8/event8 input node",
        "",
    ),
];

#[test]
fn every_class_is_exposed_by_its_devices_and_by_no_others() {
    let mut seen = BTreeSet::new();
    for (lines, expected) in TABLE {
        let lines = lines.replace("KEYS", &KEYS.replace(' ', "%"));
        let classes = classes_of(&lines);
        assert_eq!(classes, *expected, "{lines}");
        seen.extend(expected.split(' ').map(str::to_owned));
    }
    for known in built_in() {
        assert!(seen.contains(&known.class.name), "{}", known.class.name);
    }
}

#[test]
fn bits_are_counted_from_the_end_of_the_last_word() {
    let test = |bits: &[u16], value: &str| {
        let test = Test {
            bits: bits.to_vec(),
            ..Test::default()
        };
        test.passes(Some(value))
    };
    assert!(test(&[0, 4], "11"));
    assert!(!test(&[0, 1], "11"));
    assert!(test(&[64, 3], "1 8000000000000008"));
    assert!(test(&[63], "1 8000000000000008"));
    assert!(!test(&[65], "1 8000000000000008"));
    assert!(!test(&[500], "1 0"));
    assert!(!test(&[0], "what"));
    assert!(!test(&[0], ""));
}
