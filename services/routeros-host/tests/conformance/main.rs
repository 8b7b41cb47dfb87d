//! The host against the conformance statements of the RouterOS reference, over real HTTP. A test's name begins with the number of
//! the statement it shows.
//!
//! Not shown, because their menus are not part of this host: 5 (`/user/group`), 56 to 58 (scripts and the console's own tree),
//! 68 to 72 (firewall, DNS, DHCP relay, pools) and 116 (scripts).

mod containers;
mod crud;
mod files;
mod lists;
mod networks;
mod print;
mod restarts;
mod router;
mod settings;
mod system;
mod transport;
