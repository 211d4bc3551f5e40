//! How well a model fits a device: the identifier score.
//!
//! | the device's | the model's | score |
//! |---|---|---|
//! | hardware id | hardware id | 0x0000 + its place in the device's list |
//! | hardware id | compatible id | 0x1000 + its place in the device's list |
//! | compatible id | hardware id | 0x2000 + its place in the device's list |
//! | compatible id | compatible id | 0x3000 + its place in the device's list + 0x100 for each place in the model's |
//!
//! The first id of a model is its hardware id, the others are compatible ids. Ids are compared without case;
//! the lowest score is the best.
//!
//! Source: Microsoft, "Identifier Score".

/// How well a model fits a device; none if no id is both's.
pub fn rank<H: AsRef<str>, C: AsRef<str>, M: AsRef<str>>(
    hardware_ids: &[H],
    compatible_ids: &[C],
    model: &[M],
) -> Option<u16> {
    let hardware = hardware_ids.iter().map(AsRef::as_ref).enumerate();
    let hardware = hardware.map(|(place, id)| (0x0000, 0x1000, place, id));
    let compatible = compatible_ids.iter().map(AsRef::as_ref).enumerate();
    let compatible = compatible.map(|(place, id)| (0x2000, 0x3000, place, id));
    let scores = hardware
        .chain(compatible)
        .flat_map(|(first, others, place, id)| {
            let place = place.min(0xff);
            let own = model.iter().map(AsRef::as_ref).enumerate();
            let same = own.filter(move |(_, own)| own.eq_ignore_ascii_case(id));
            same.map(move |(at, _)| match (at.checked_sub(1), others) {
                (None, _) => first + place,
                // Only among compatible ids does the model's order count.
                (Some(k), 0x3000) => others + place + 0x100 * k.min(0xe),
                (Some(_), _) => others + place,
            })
        });
    scores.min().and_then(|score| u16::try_from(score).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_more_specific_id_of_the_device_and_a_hardware_id_of_the_model_are_better() {
        let hardware = ["USB\\VID_1&PID_2&REV_3", "USB\\VID_1&PID_2"];
        let compatible = ["USB\\Class_08&SubClass_06", "USB\\Class_08"];
        let score = |model: &[&str]| rank(&hardware, &compatible, model);
        assert_eq!(score(&["usb\\vid_1&pid_2&rev_3"]), Some(0x0000));
        assert_eq!(score(&["USB\\VID_1&PID_2"]), Some(0x0001));
        assert_eq!(score(&["x", "USB\\VID_1&PID_2"]), Some(0x1001));
        assert_eq!(score(&["USB\\Class_08"]), Some(0x2001));
        assert_eq!(score(&["x", "y", "USB\\Class_08"]), Some(0x3101));
        assert_eq!(score(&["USB\\Class_08", "USB\\VID_1&PID_2"]), Some(0x1001));
        assert_eq!(score(&["x"]), None);
    }
}
