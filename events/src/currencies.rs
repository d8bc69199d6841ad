//! ISO 4217: which currency codes exist, and how much one amount may be.
//!
//! Source: ISO 4217 lists one (in use) and three (withdrawn since currencies are written with these codes), as of 2026-01. Facts may be older than
//! a currency's end, so withdrawn codes count as known.

use crate::money::Currency;

/// In use. Sorted.
const IN_USE: &[u8] =
    b"AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY \
COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY \
KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN \
PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN \
UYI UYU UYW UZS VED VES VND VUV WST XAD XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG ZWL ";

/// Withdrawn. Sorted.
const WITHDRAWN: &[u8] = b"ADF ADP AFA ALK AOK AON AOR ARA ARL ARM ARP ATS AYM AZM BAD BEC BEF BEL BGJ BGK BGL BOP BRB BRC BRE BRN BRR BUK BYB BYR CNX CSD CSJ CSK \
CYP DDM DEM ECS ECV EEK ESA ESB ESP FIM FRF GEK GHC GNE GNS GQE GRD GWE GWP HRD IEP ILP ILR ISJ ITL LAJ LSM LTL LTT LUC LUF LUL LVL LVR MAF MGF MLF MRO MTL \
MTP MVQ MXP MZE MZM NIC NLG PEH PEI PES PLZ PTE RHD ROK ROL RUR SDD SDP SIT SKK SRG STD SUR TJR TLE TMM TPE TRL UAK UGS UGW USS UYN UYP VEB VEF VNC XEU XFO XFU \
XRE YDD YUD YUM YUN ZAL ZMK ZRN ZRZ ZWC ZWD ZWN ZWR ";

/// Those of which a thousand or more make a US dollar, or made one before they were withdrawn.
const SMALL: &[u8] =
    b"AOR BIF BRR CDF COP GNF IDR IQD IRR ITL KHR KRW LAK LBP MGA MMK MNT MWK NGN PYG ROL RWF SLL SYP TRL TZS UGX UZS VEB VED VEF VES VND ZWD ZWL ZWR ";

/// Most whole units of one amount: more than any company was ever paid.
const MOST_UNITS: i64 = 1_000_000_000_000;
/// The same of small currencies.
const MOST_SMALL_UNITS: i64 = 1_000_000_000_000_000;

fn holds(list: &[u8], code: &str) -> bool {
    list.as_chunks::<4>().0.binary_search_by(|entry| entry[..3].cmp(code.as_bytes())).is_ok()
}

impl Currency {
    /// Tells whether ISO 4217 has the code, or had it once.
    pub fn is_known(self) -> bool {
        holds(IN_USE, self.as_str()) || holds(WITHDRAWN, self.as_str())
    }

    /// Gives the most minor units that one amount may have at admission: a trillion whole units, a thousand times that where a unit is worth little.
    /// Nobody means more, and a thousand such amounts still add up in 64 bits.
    pub fn most_minor(self) -> i64 {
        let units = if holds(SMALL, self.as_str()) { MOST_SMALL_UNITS } else { MOST_UNITS };
        units.saturating_mul(10i64.pow(self.exponent()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn lists_are_sorted_and_of_codes() {
        for list in [IN_USE, WITHDRAWN, SMALL] {
            let (entries, rest) = list.as_chunks::<4>();
            assert!(rest.is_empty() && entries.is_sorted() && entries.iter().all(|entry| entry[3] == b' '), "{rest:?}");
            assert!(entries.iter().all(|entry| currency(std::str::from_utf8(&entry[..3]).unwrap()).is_known()));
        }
        assert_eq!(IN_USE.len() / 4, 184, "ISO 4217 and those withdrawn lately");
    }

    #[test]
    fn codes_that_nobody_issued_are_not_known() {
        assert!(["USD", "EUR", "JPY", "KWD", "XAU", "DEM", "HRK", "AED", "ZWR"].into_iter().all(|code| currency(code).is_known()));
        assert!(["ZZZ", "USX", "BTC", "EUX", "AAA", "XYZ", "UDS"].into_iter().all(|code| !currency(code).is_known()));
    }

    #[test]
    fn the_most_of_an_amount_follows_the_currency() {
        let most = ["USD", "JPY", "KWD", "VND", "IQD"].map(|code| currency(code).most_minor());
        assert_eq!(most, [100_000_000_000_000, 1_000_000_000_000, 1_000_000_000_000_000, 1_000_000_000_000_000, 1_000_000_000_000_000_000]);
    }
}
