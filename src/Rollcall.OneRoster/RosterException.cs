namespace Rollcall.OneRoster;

/// <summary>Why reading a roster failed, for programs that react to it.</summary>
public enum RosterFault
{
    /// <summary>No connection, a time-out, or a server error that stayed after the retries.</summary>
    Unreachable,

    /// <summary>The credentials were refused (401).</summary>
    CredentialsRefused,

    /// <summary>The credentials are fine but access is switched off (403).</summary>
    AccessDisabled,

    /// <summary>The address answers, but not with a roster (404, HTML, no array, a redirect elsewhere).</summary>
    NotARoster,

    /// <summary>The data could not be read completely: totals or revision changed, rows were missing, pages repeated.</summary>
    Incomplete,

    /// <summary>The server refuses the request as wrong (400, 422).</summary>
    Refused,

    /// <summary>This computer's clock and the server's differ too much for signed requests.</summary>
    ClockSkew,

    /// <summary>The answer is larger than this client accepts.</summary>
    TooLarge,
}

/// <summary>A roster could not be read. The message is one line that says what is wrong and what to do, without secrets or personal values.</summary>
public sealed class RosterException : Exception
{
    /// <summary>Creates the exception.</summary>
    public RosterException(RosterFault fault, string message, Exception? inner = null)
        : base(message, inner) => Fault = fault;

    /// <summary>The kind of failure.</summary>
    public RosterFault Fault { get; }

    /// <summary>The HTTP status that the server answered with; <see langword="null"/> when the failure was not an HTTP status.</summary>
    public int? StatusCode { get; init; }

    /// <summary>What the server said, cleaned for a message and ready to be appended; empty when it said nothing.</summary>
    internal string Said { get; init; } = "";

    /// <summary>It was the token's address that failed, not the roster's. The status of that answer is kept apart, since a reader of
    /// records would take it for one about a record.</summary>
    internal bool AtToken { get; set; }

    /// <summary>The status of a failed token request; <see langword="null"/> when there was none.</summary>
    internal int? TokenStatus { get; set; }
}
