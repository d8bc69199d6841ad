//! Promotes healthy releases and requests rollbacks of failed ones.
