use serde::Serialize;

use super::Rates;

/// In which class of service a request is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Tier {
    /// As most are.
    #[default]
    Standard,
    /// Some time within a day.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
    /// With more speed for each token; where that has no price, it is that of `Priority`.
    Fast,
}

impl Tier {
    /// All but the standard one.
    pub const OTHERS: [Self; 4] = [Self::Batch, Self::Flex, Self::Priority, Self::Fast];

    /// The class that a provider or a client names; any other name is one of the standard price.
    ///
    /// ```
    /// use bartizan::price::Tier;
    ///
    /// assert_eq!(Tier::named("priority"), Tier::Priority);
    /// assert_eq!(Tier::named("ON_DEMAND_FLEX"), Tier::Flex);
    /// assert_eq!(Tier::named("default"), Tier::Standard);
    /// ```
    pub fn named(name: &str) -> Self {
        match name {
            "batch" => Self::Batch,
            "flex" | "ON_DEMAND_FLEX" => Self::Flex,
            // The third is Groq's.
            "priority" | "ON_DEMAND_PRIORITY" | "performance" => Self::Priority,
            "fast" | "ultrafast" => Self::Fast,
            _ => Self::Standard,
        }
    }

    /// The class that a client asks for; `None` if it leaves that to the provider.
    pub(crate) fn asked(name: Option<&str>) -> Option<Self> {
        name.filter(|name| *name != "auto").map(Self::named)
    }

    /// Whether it is the standard one.
    pub fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// What a request costs by how much it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// What a request costs.
    pub rates: Rates,
    /// Other rates for the whole request when its input has more tokens than the number; the lowest
    /// number first.
    pub above: Vec<(u64, Rates)>,
}

impl Scale {
    /// The rates of a request that reads so many tokens.
    pub(super) fn rates(&self, input: u64) -> &Rates {
        let above = self.above.iter().rev().find(|(threshold, _)| input > *threshold);
        above.map_or(&self.rates, |(_, rates)| rates)
    }

    /// Adds what images and sound cost usually where that isn't given.
    pub(super) fn add_media(&mut self, usual: &Rates) {
        self.rates = self.rates.with_media(usual);
        self.above.iter_mut().for_each(|(_, rates)| *rates = rates.with_media(usual));
    }

    /// So many percent of each rate, rounded up.
    pub(super) fn percent(&self, percent: u32) -> Self {
        let above = self.above.iter().map(|(threshold, rates)| (*threshold, rates.percent(percent)));
        Self { rates: self.rates.percent(percent), above: above.collect() }
    }
}

impl From<Rates> for Scale {
    fn from(rates: Rates) -> Self {
        Self { rates, above: Vec::new() }
    }
}
