namespace Rollcall.OneRoster.Auth;

/// <summary>Puts the proof of identity on a request. Asked anew for every request and every retry.</summary>
internal interface IRequestSigner
{
    /// <summary>Called before every try; fetches what <see cref="Authorization"/> needs.</summary>
    ValueTask PrepareAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>The value of the <c>Authorization</c> header for a request of exactly this URL; <see langword="null"/> sends none.</summary>
    string? Authorization(string url);

    /// <summary>Called after a 401. True when other credentials are in place now, so that one more try makes sense.</summary>
    ValueTask<bool> RefreshAsync(CancellationToken cancellationToken);

    /// <summary>What a 401 that stays means, with what to do, where it is not that somebody here entered a wrong key; <see langword="null"/>
    /// otherwise.</summary>
    string? Refusal => null;

    /// <summary>Whether requests carry a timestamp, so that a wrong clock is a likely reason for a 401.</summary>
    bool DependsOnClock { get; }

    /// <summary>Texts that must never show up in a message, even when the server echoes them.</summary>
    IEnumerable<string> Secrets { get; }
}
