//! Message bodies to their parts. Every read is checked against the bytes that are there.

use crate::encoding;
use bytes::{Buf, Bytes};
use millrace_types::{Result, SqlError, SqlState};
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse};

fn violation(message: &str) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// A message body being read.
pub(crate) struct Body(pub Bytes);

impl Body {
    pub fn u8(&mut self) -> Result<u8> {
        self.0.try_get_u8().map_err(|_| violation("insufficient data left in message"))
    }

    pub fn i16(&mut self) -> Result<i16> {
        self.0.try_get_i16().map_err(|_| violation("insufficient data left in message"))
    }

    pub fn i32(&mut self) -> Result<i32> {
        self.0.try_get_i32().map_err(|_| violation("insufficient data left in message"))
    }

    /// A count of elements that take `bytes` each at least.
    fn count(&mut self, bytes: usize) -> Result<usize> {
        let count = usize::from(self.i16()? as u16);
        match count * bytes <= self.0.len() {
            true => Ok(count),
            false => Err(violation("insufficient data left in message")),
        }
    }

    /// Text up to a NUL.
    pub fn string(&mut self) -> Result<String> {
        let end = self.0.iter().position(|&b| b == 0).ok_or_else(|| violation("invalid string in message"))?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        Ok(encoding::text(&bytes)?.to_owned())
    }

    fn name(&mut self) -> Result<Option<String>> {
        self.string().map(Some)
    }

    /// A value with its length before it; `None` for NULL.
    fn value(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= self.0.len() => Ok(Some(self.0.split_to(length))),
                _ => Err(violation("insufficient data left in message")),
            },
        }
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<()> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(violation("invalid message format")),
        }
    }
}

/// The text of a Query.
pub(crate) fn query(body: Bytes) -> Result<String> {
    let mut body = Body(body);
    let text = body.string()?;
    body.end()?;
    Ok(text)
}

pub(crate) fn parse(body: Bytes) -> Result<Parse> {
    let mut body = Body(body);
    let (name, text) = (body.name()?, body.string()?);
    let oids = (0..body.count(4)?).map(|_| body.i32().map(|oid| oid as u32)).collect::<Result<_>>()?;
    body.end()?;
    Ok(Parse::new(name, text, oids))
}

pub(crate) fn bind(body: Bytes) -> Result<Bind> {
    let mut body = Body(body);
    let (portal, statement) = (body.name()?, body.name()?);
    let formats = (0..body.count(2)?).map(|_| body.i16()).collect::<Result<_>>()?;
    let values = (0..body.count(4)?).map(|_| body.value()).collect::<Result<_>>()?;
    let result_formats = (0..body.count(2)?).map(|_| body.i16()).collect::<Result<_>>()?;
    body.end()?;
    Ok(Bind::new(portal, statement, formats, values, result_formats))
}

pub(crate) fn describe(body: Bytes) -> Result<Describe> {
    let (kind, name) = target(body, "DESCRIBE")?;
    Ok(Describe::new(kind, Some(name)))
}

pub(crate) fn close(body: Bytes) -> Result<Close> {
    let (kind, name) = target(body, "CLOSE")?;
    Ok(Close::new(kind, Some(name)))
}

/// `S` and a statement's name, or `P` and a portal's.
fn target(body: Bytes, message: &str) -> Result<(u8, String)> {
    let mut body = Body(body);
    let (kind, name) = (body.u8()?, body.string()?);
    body.end()?;
    match kind {
        b'S' | b'P' => Ok((kind, name)),
        other => Err(violation(&format!("invalid {message} message subtype {other}"))),
    }
}

pub(crate) fn execute(body: Bytes) -> Result<Execute> {
    let mut body = Body(body);
    let (portal, max_rows) = (body.name()?, body.i32()?);
    body.end()?;
    Ok(Execute::new(portal, max_rows))
}

/// The reason of a CopyFail.
pub(crate) fn copy_fail(body: Bytes) -> Result<String> {
    Body(body).string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cut_anywhere_is_an_error() {
        let whole: &[u8] = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0";
        assert_eq!(bind(Bytes::from_static(whole)).unwrap().parameters, [Some(Bytes::from_static(b"x")), None]);
        for length in 0..whole.len() {
            let error = bind(Bytes::from_static(&whole[..length])).unwrap_err();
            assert_eq!(error.state(), SqlState::PROTOCOL_VIOLATION, "at {length}");
        }
        let longer = [whole, b"\0"].concat();
        assert_eq!(bind(longer.into()).unwrap_err().message(), "invalid message format");
    }

    #[test]
    fn text_is_checked() {
        assert_eq!(query(Bytes::from_static(b"\xff\0")).unwrap_err().state(), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
        assert_eq!(query(Bytes::from_static(b"x")).unwrap_err().state(), SqlState::PROTOCOL_VIOLATION);
        assert_eq!(describe(Bytes::from_static(b"Zx\0")).unwrap_err().message(), "invalid DESCRIBE message subtype 90");
    }
}
