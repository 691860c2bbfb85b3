/// Defines a protocol: a unit struct that implements [`RefractiumProtocol`](crate::RefractiumProtocol).
///
/// `identify` returns a [`Verdict`](crate::Verdict); [`prefix`](crate::prefix) and
/// [`any_prefix`](crate::any_prefix) give the right one for magic bytes. `server_first: true` may stand at the end.
///
/// ```
/// use refractium_protocol::{define_protocol, prefix};
///
/// define_protocol! {
///     /// RFB, the protocol of VNC: the server greets first, and the client answers with the same bytes.
///     pub struct Vnc;
///     name: "vnc",
///     transports: [Tcp],
///     identify: |opening| prefix(opening.bytes, b"RFB 003."),
///     server_first: true,
/// }
/// ```
#[macro_export]
macro_rules! define_protocol {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $Name:ident;
        name: $name:expr,
        transports: [$($transport:ident),+ $(,)?],
        identify: |$opening:pat_param| $identify:expr
        $(, server_first: $server_first:expr)?
        $(,)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default)]
        $visibility struct $Name;

        impl $crate::RefractiumProtocol for $Name {
            fn name(&self) -> &str {
                $name
            }

            fn transports(&self) -> &[$crate::Transport] {
                &[$($crate::Transport::$transport),+]
            }

            fn identify(&self, $opening: &$crate::Opening<'_>) -> $crate::Verdict {
                $identify
            }

            $(fn server_first(&self) -> bool {
                $server_first
            })?
        }
    };
}
