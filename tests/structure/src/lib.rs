//! Tests of the tree itself: who depends on whom, how actix behaves, which messages there are, and the habits of the house.
