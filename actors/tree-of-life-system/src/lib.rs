//! The hub: admission policy, supervision ledger, uptime.
