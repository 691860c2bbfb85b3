/// Defines a protocol: a unit struct that implements [`RefractiumProtocol`](crate::RefractiumProtocol).
///
/// `identify` returns a [`Verdict`](crate::Verdict); [`prefix`](crate::prefix) and
/// [`any_prefix`](crate::any_prefix) give the right one for magic bytes of a stream,
/// [`Opening::any_prefix`](crate::Opening::any_prefix) for those of streams and datagrams. `server_first` and `responses`, in
/// this order, may stand at the end.
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
///
/// Over UDP a datagram arrives whole or not at all: what it lacks never comes, and one answer may be all that follows.
///
/// ```
/// use refractium_protocol::{Opening, RefractiumProtocol, Verdict, define_protocol};
///
/// define_protocol! {
///     /// What a game server is asked by those who look for one (A2S_INFO): one question, one answer.
///     pub struct Browse;
///     name: "browse",
///     transports: [Udp],
///     identify: |opening| opening.any_prefix(&[b"\xff\xff\xff\xffTSource Engine Query\0"]),
///     responses: 1,
/// }
///
/// let question = b"\xff\xff\xff\xffTSource Engine Query\0";
/// let datagram = |bytes, ends| Opening { bytes, ends, ended: false };
/// assert_eq!(Browse.identify(&datagram(question, &[25])), Verdict::Match);
/// assert_eq!(Browse.identify(&datagram(&question[..9], &[9])), Verdict::NoMatch);
/// assert_eq!(Browse.responses(), Some(1));
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
        $(, responses: $responses:expr)?
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

            $(fn responses(&self) -> Option<u32> {
                Some($responses)
            })?
        }
    };
}
