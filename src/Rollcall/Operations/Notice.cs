namespace Rollcall.Operations;

/// <summary>What people are told of. Flags, stored as a number.</summary>
[Flags]
public enum NoticeEvents
{
    None = 0,

    /// <summary>A sync failed, after the tries of that night.</summary>
    Failed = 1,

    /// <summary>Changes wait for an approval.</summary>
    Held = 2,

    /// <summary>A sync ended with warnings.</summary>
    Warnings = 4,

    /// <summary>A nightly sync ended without any.</summary>
    Completed = 8,
}

/// <summary>How a notice travels.</summary>
public enum NoticeChannel
{
    Email = 1,
    Webhook = 2,
}

/// <summary>Where a notice stands.</summary>
public enum NoticeStatus
{
    Waiting = 0,
    Sent = 1,
    Failed = 2,
}

/// <summary>Whom a district has told of what.</summary>
public sealed class NoticeSetting
{
    public int DistrictId { get; set; }

    /// <summary>E-mail addresses, one a line; empty for none.</summary>
    public string Emails { get; set; } = "";

    public NoticeEvents Events { get; set; } = NoticeEvents.Failed | NoticeEvents.Held;

    /// <summary>Null for none.</summary>
    public string? WebhookUrl { get; set; }

    /// <summary>What webhooks are signed with, protected; null when there is no webhook.</summary>
    public string? WebhookSecret { get; set; }

    public IReadOnlyList<string> Addresses => Emails.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}

/// <summary>One message to one place, and what became of it. It holds numbers and names of sites, never a person.</summary>
public sealed class Notice
{
    public int DistrictId { get; set; }
    public long Id { get; set; }

    /// <summary>The operation it tells of; null for a test.</summary>
    public long? OperationId { get; set; }

    public NoticeChannel Channel { get; set; }

    /// <summary>The e-mail address, or the webhook's address.</summary>
    public string Target { get; set; } = "";

    /// <summary>None for a test.</summary>
    public NoticeEvents Event { get; set; }

    public string Subject { get; set; } = "";
    public string Body { get; set; } = "";
    public NoticeStatus Status { get; set; }
    public int Attempts { get; set; }

    /// <summary>Not sent before; while it is being sent, when another node may take over.</summary>
    public DateTimeOffset DueAt { get; set; }

    public DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset? SentAt { get; set; }

    /// <summary>Why the last try failed, in one line; null otherwise.</summary>
    public string? Error { get; set; }
}

/// <summary>How this installation sends e-mail. Null in <see cref="RollcallOptions.Mail"/> when it does not.</summary>
/// <param name="Host">The SMTP server.</param>
/// <param name="Port">Its port: 587 begins plain and turns to TLS, 465 is TLS from the start.</param>
/// <param name="From">The sender's address.</param>
/// <param name="User">Null when the server wants no sign-in.</param>
/// <param name="Password">Null when the server wants no sign-in.</param>
/// <param name="Plain">Without TLS; for a server on the same machine alone.</param>
/// <param name="TlsFromStart">Whether TLS is there from the start, whatever the port; null lets the port say it.</param>
/// <param name="Authorities">Whose certificates are trusted beside those that the machine trusts; null for nobody's.</param>
public sealed record MailOptions(
    string Host,
    int Port,
    string From,
    string? User = null,
    string? Password = null,
    bool Plain = false,
    bool? TlsFromStart = null,
    System.Security.Cryptography.X509Certificates.X509Certificate2Collection? Authorities = null
)
{
    /// <summary>Whether email can be sent from it: an address, with a name before it or without.</summary>
    public static bool IsSender(string text) =>
        MimeKit.MailboxAddress.TryParse(text, out var sender)
        && sender.Address.IndexOf('@', StringComparison.Ordinal) is > 0 and var at
        && at < sender.Address.Length - 1;
}
