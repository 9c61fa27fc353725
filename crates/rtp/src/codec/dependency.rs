//! The dependency descriptor (AV1 RTP payload format 1.0, appendix A): which frames a frame needs and what needs it, for any codec.

use super::bits::Bits;

/// Most templates: their ids have six bits.
const MAX_TEMPLATES: usize = 64;
/// Most spatial layers a descriptor can name: two bits in all its uses.
const MAX_SPATIAL: u8 = 3;
/// Most temporal layers: three bits.
const MAX_TEMPORAL: u8 = 7;

/// What frames of one kind have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// A bit for each decode target that one may switch to here.
    switches: u32,
    /// A bit for each frame needed: the lowest for the frame before.
    needs: u128,
}

/// A template dependency structure: what descriptors refer to until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    offset: u8,
    targets: u32,
    templates: Vec<Template>,
    /// By decode target: the highest spatial and temporal layer in it.
    layers: Vec<(u8, u8)>,
    /// By spatial layer, in pixels.
    sizes: Vec<(u16, u16)>,
}

/// One packet's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet is the first of its frame.
    pub starts_frame: bool,
    /// The packet is the last of its frame.
    pub ends_frame: bool,
    /// Counts frames, modulo 2^16.
    pub number: u16,
    /// The spatial layer.
    pub spatial: u8,
    /// The temporal layer.
    pub temporal: u8,
    /// The layers one may switch to here, if the frame can be decoded: bit spatial × 8 + temporal, the highest of what can be decoded then.
    pub switches: u32,
    /// The frames needed: the lowest bit for the frame before. `None`: one that is further back than 128.
    pub needs: Option<u128>,
}

impl Structure {
    /// The structure that a keyframe's descriptor carries; `None` if it carries none, or a broken one.
    pub fn parse(descriptor: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(descriptor.get(3..)?);
        let attached = bits.flag()?;
        bits.get(4)?;
        if !attached {
            return None;
        }
        Self::read(&mut bits)
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let offset = bits.get(6)? as u8;
        let targets = bits.get(5)? + 1;
        let mut templates: Vec<Template> = Vec::new();
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            if templates.len() == MAX_TEMPLATES {
                return None;
            }
            templates.push(Template { spatial, temporal, ..Template::default() });
            match bits.get(2)? {
                0 => {}
                1 if temporal < MAX_TEMPORAL => temporal += 1,
                2 if spatial < MAX_SPATIAL => (spatial, temporal) = (spatial + 1, 0),
                3 => break,
                _ => return None,
            }
        }
        let mut layers = vec![(0, 0); targets as usize];
        for template in &mut templates {
            for (target, (highest_spatial, highest_temporal)) in layers.iter_mut().enumerate() {
                let indication = bits.get(2)?;
                if indication != NOT_PRESENT {
                    *highest_spatial = template.spatial.max(*highest_spatial);
                    *highest_temporal = template.temporal.max(*highest_temporal);
                }
                template.switches |= u32::from(indication == SWITCH) << target;
            }
        }
        for template in &mut templates {
            while bits.flag()? {
                template.needs |= 1 << bits.get(4)?;
            }
        }
        let chains = bits.below(targets + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.below(chains)?;
            }
            for _ in 0..templates.len() as u32 * chains {
                bits.get(4)?;
            }
        }
        let mut sizes = Vec::new();
        if bits.flag()? {
            for _ in 0..=spatial {
                let (width, height) = (bits.get(16)?, bits.get(16)?);
                sizes.push((u16::try_from(width + 1).ok()?, u16::try_from(height + 1).ok()?));
            }
        }
        Some(Self { offset, targets, templates, layers, sizes })
    }

    /// Width and height in pixels of the highest spatial layer, if said.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.sizes.last().copied()
    }
}

/// Decode target indications (appendix A.2): the frame is no part of it; one may switch to it here.
const NOT_PRESENT: u32 = 0;
const SWITCH: u32 = 2;

impl Descriptor {
    /// Reads a descriptor that refers to `structure`, or carries it; `None` if it names a template that is not in there, or ends within.
    pub fn parse(descriptor: &[u8], structure: &Structure) -> Option<Self> {
        let (&[first, n0, n1], extended) = descriptor.split_first_chunk()?;
        let template = usize::from((first & 0x3f).wrapping_sub(structure.offset) & 0x3f);
        let template = *structure.templates.get(template)?;
        let (mut switches, mut needs) = (template.switches, Some(template.needs));
        if !extended.is_empty() {
            let mut bits = Bits::new(extended);
            let [attached, active, custom_targets, custom_needs, _] =
                [bits.flag()?, bits.flag()?, bits.flag()?, bits.flag()?, bits.flag()?];
            if attached {
                Structure::read(&mut bits)?;
            }
            if active {
                bits.get(structure.targets)?;
            }
            if custom_targets {
                switches = 0;
                for target in 0..structure.targets {
                    switches |= u32::from(bits.get(2)? == SWITCH) << target;
                }
            }
            if custom_needs {
                needs = Some(0);
                loop {
                    // How many times four bits the distance has.
                    let nibbles = bits.get(2)?;
                    if nibbles == 0 {
                        break;
                    }
                    let back = bits.get(4 * nibbles)?;
                    needs = needs.filter(|_| back < u128::BITS).map(|needs| needs | 1 << back);
                }
            }
        }
        let to = structure.layers.iter().enumerate().filter(|(target, _)| switches >> target & 1 == 1);
        let switches = to.fold(0, |mask, (_, &(spatial, temporal))| mask | 1 << (spatial * 8 + temporal));
        Some(Self {
            starts_frame: first & 0x80 != 0,
            ends_frame: first & 0x40 != 0,
            number: u16::from_be_bytes([n0, n1]),
            spatial: template.spatial,
            temporal: template.temporal,
            switches,
            needs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(fields: &[(u32, usize)]) -> Vec<u8> {
        let mut bits: String = fields.iter().map(|&(value, count)| format!("{value:0count$b}")).collect();
        bits += &"0".repeat((8 - bits.len() % 8) % 8);
        bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
    }

    /// Two spatial and two temporal layers; template 5 is the keyframe's. Targets: (0, 0), (0, 1), (1, 0), (1, 1).
    fn keyframe() -> Vec<u8> {
        let mut fields = vec![(1, 1), (0, 1), (5, 6), (100, 16), (0b10000, 5), (5, 6), (3, 5)];
        // Templates: (0, 0) twice, (0, 1), (1, 0), (1, 1).
        fields.extend([(0, 2), (1, 2), (2, 2), (1, 2), (3, 2)]);
        // What each is to each target: 0 nothing, 1 discardable, 2 switch, 3 required.
        for row in [[2, 2, 2, 2], [2, 2, 3, 3], [0, 1, 0, 3], [0, 0, 2, 2], [0, 0, 0, 1]] {
            fields.extend(row.map(|indication| (indication, 2)));
        }
        // What each needs: nothing; the 4th before; the 2nd before; the one before and the 4th; the one before.
        fields.extend([
            (0, 1),
            (1, 1),
            (3, 4),
            (0, 1),
            (1, 1),
            (1, 4),
            (0, 1),
            (1, 1),
            (0, 4),
            (1, 1),
            (3, 4),
            (0, 1),
            (1, 1),
            (0, 4),
            (0, 1),
        ]);
        // Two chains: below(5) = 2 in two bits; by which each target is protected; five templates of two distances.
        fields.extend([(2, 2), (0, 1), (0, 1), (1, 1), (1, 1)]);
        fields.extend([(0, 4); 10]);
        fields.extend([(1, 1), (639, 16), (359, 16), (1279, 16), (719, 16)]);
        packed(&fields)
    }

    #[test]
    fn a_keyframes_structure_is_what_later_frames_refer_to() {
        let keyframe = keyframe();
        let structure = Structure::parse(&keyframe).unwrap();
        assert_eq!(structure.size(), Some((1280, 720)));
        let first = Descriptor::parse(&keyframe, &structure).unwrap();
        assert_eq!((first.number, first.spatial, first.temporal, first.needs), (100, 0, 0, Some(0)));
        assert_eq!(first.switches, 1 << 9 | 1 << 8 | 1 << 1 | 1);
        let later = |template: u8| Descriptor::parse(&[0x80 | template, 0, 101], &structure).unwrap();
        assert_eq!((later(6).needs, later(6).switches), (Some(0b1000), 1 << 1 | 1));
        assert_eq!((later(7).spatial, later(7).temporal, later(7).needs), (0, 1, Some(0b10)));
        assert_eq!((later(8).spatial, later(8).temporal, later(8).needs), (1, 0, Some(0b1001)));
        assert_eq!((later(9).spatial, later(9).temporal, later(9).switches), (1, 1, 0));
        assert_eq!(Descriptor::parse(&[0x80 | 10, 0, 101], &structure), None, "no such template");
        assert_eq!(Descriptor::parse(&[0x80 | 4, 0, 101], &structure), None, "before the first");
    }

    #[test]
    fn a_frame_may_differ_from_its_template() {
        let structure = Structure::parse(&keyframe()).unwrap();
        // Active targets, other indications, other needs: the 3rd before and the 200th.
        let fields = [
            (0b01_000110, 8),
            (7, 16),
            (0b01110, 5),
            (0b0011, 4),
            (0, 2),
            (2, 2),
            (0, 2),
            (0, 2),
            (1, 2),
            (2, 4),
            (2, 2),
            (199, 8),
            (0, 2),
        ];
        let other = Descriptor::parse(&packed(&fields), &structure).unwrap();
        assert_eq!((other.ends_frame, other.switches, other.needs), (true, 1 << 1, None));
        let near = [(0b01_000110, 8), (7, 16), (0b00010, 5), (1, 2), (2, 4), (2, 2), (100, 8), (0, 2)];
        assert_eq!(Descriptor::parse(&packed(&near), &structure).unwrap().needs, Some(1 << 2 | 1 << 100));
    }

    #[test]
    fn what_is_cut_off_says_nothing() {
        let keyframe = keyframe();
        let structure = Structure::parse(&keyframe).unwrap();
        for len in 0..keyframe.len() {
            assert_eq!(Structure::parse(&keyframe[..len]), None, "{len}");
            if len != 3 {
                assert_eq!(Descriptor::parse(&keyframe[..len], &structure), None, "{len}");
            }
        }
        assert_eq!(Structure::parse(&[0x80, 0, 1, 0x00]), None, "none attached");
        assert_eq!(Structure::parse(&[[0x80, 0, 1, 0x80].as_slice(), &[0; 60]].concat()), None, "more templates than ids");
    }
}
