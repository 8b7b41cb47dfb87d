//! Order: which pod may start when, after a boot of the device, and which is stopped first when the node is emptied.
