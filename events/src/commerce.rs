//! `commerce.*`: customers and their orders. Subject: `customer/{customer_id}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{FieldError, PersonalText, at_least_one, domain_event, filled, not_negative, positive};
use crate::money::Money;
use crate::registry::known_types;

/// `commerce.customer_registered.v1`: somebody became a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerRegistered<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// Name as the customer gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PersonalText>,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<PersonalText>,
    /// Telephone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<PersonalText>,
}

domain_event!(CustomerRegistered, "commerce.customer_registered.v1", "customer" / customer_id, personal["name", "email", "phone"], |this| {
    for (field, text) in [("name", &this.name), ("email", &this.email), ("phone", &this.phone)] {
        if matches!(text, Some(PersonalText::Sealed { .. })) {
            return Err(FieldError::new(field, "is already sealed; send it as plain text, it is encrypted on arrival"));
        }
    }
});

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderItem<'a> {
    /// What was ordered.
    #[serde(borrow)]
    pub sku: Cow<'a, str>,
    /// How many, 1 or more.
    pub quantity: u64,
    /// Price of one.
    pub unit_price: Money,
}

/// `commerce.order_placed.v1`: a customer ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced<'a> {
    /// The order.
    #[serde(borrow)]
    pub order_id: Cow<'a, str>,
    /// Who ordered.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// What the order costs in all, 0 or more.
    pub total: Money,
    /// The lines, where the sender knows them.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<OrderItem<'a>>,
}

domain_event!(OrderPlaced, "commerce.order_placed.v1", "customer" / customer_id, |this| {
    filled("order_id", &this.order_id)?;
    not_negative("total", this.total)?;
    for (index, item) in this.items.iter().enumerate() {
        check_item(item).map_err(|error| FieldError::new(format!("items[{index}].{}", error.field), error.problem))?;
    }
});

fn check_item(item: &OrderItem<'_>) -> Result<(), FieldError> {
    filled("sku", &item.sku)?;
    at_least_one("quantity", item.quantity)?;
    not_negative("unit_price", item.unit_price)
}

/// `commerce.order_refunded.v1`: money for an order was given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRefunded<'a> {
    /// The order.
    #[serde(borrow)]
    pub order_id: Cow<'a, str>,
    /// Who had ordered.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The refund; an order can have several.
    #[serde(borrow)]
    pub refund_id: Cow<'a, str>,
    /// What was given back, above 0.
    pub amount: Money,
}

domain_event!(OrderRefunded, "commerce.order_refunded.v1", "customer" / customer_id, |this| {
    filled("order_id", &this.order_id)?;
    filled("refund_id", &this.refund_id)?;
    positive("amount", this.amount)?;
});

known_types![CustomerRegistered, OrderPlaced, OrderRefunded];
