//! Deployments: so many pods of one template, replaced one after the other, each proven before the next.
