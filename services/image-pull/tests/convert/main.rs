//! Images become archives: what is in them, what is refused, and what real tools make of them.

mod flatten;
mod forms;
mod golden;
mod hostile;
mod made;
mod model;
mod tools;
