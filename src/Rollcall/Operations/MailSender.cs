using System.Globalization;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MailKit;
using MailKit.Net.Smtp;
using MailKit.Security;
using MimeKit;
using Rollcall.Patrons;

namespace Rollcall.Operations;

/// <summary>Hands an e-mail over to the operator's mail server. Why it could not be is a sentence for whoever has to mend it: the server's own
/// words stand in it, and what of the settings they are about.</summary>
internal static class MailSender
{
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";
    private static readonly TimeSpan s_timeout = TimeSpan.FromSeconds(20);

    private enum Step
    {
        Connecting,
        SigningIn,
        Sending,
    }

    /// <exception cref="RollcallException">It was not taken; in words.</exception>
    public static async Task SendAsync(MailOptions mail, Notice notice, CancellationToken cancellationToken)
    {
        using var message = Message(mail, notice);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(s_timeout);
        using var client = new SmtpClient();
        string? distrust = null;
        client.ServerCertificateValidationCallback = (_, shown, chain, errors) =>
        {
            distrust = Distrust(mail.Authorities, shown, chain, errors);
            return distrust is null;
        };
        var step = Step.Connecting;
        try
        {
            await client.ConnectAsync(mail.Host, mail.Port, Security(mail), patience.Token);
            if (mail.User is not null)
            {
                step = Step.SigningIn;
                await client.AuthenticateAsync(mail.User, mail.Password ?? "", patience.Token);
            }

            step = Step.Sending;
            await client.SendAsync(message, patience.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RollcallException(
                $"The mail server {mail.Host} gave no answer at port {mail.Port} within {s_timeout.TotalSeconds:0} seconds. See whether it runs, and whether a firewall lets this machine reach it."
            );
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            throw new RollcallException(Words(e, step, mail, notice.Target, distrust), e);
        }

        try
        {
            await client.DisconnectAsync(quit: true, patience.Token);
        }
        catch (Exception e) when (e is IOException or ProtocolException or OperationCanceledException or SocketException)
        {
            // It has the message, and has said so: how it says goodbye is no reason to send another one.
        }
    }

    private static MimeMessage Message(MailOptions mail, Notice notice)
    {
        var message = new MimeMessage();
        var from = MailboxAddress.Parse(mail.From);
        message.From.Add(from);
        message.To.Add(MailboxAddress.Parse(notice.Target));
        message.Subject = notice.Subject.ReplaceLineEndings(" ");
        message.Date = notice.CreatedAt;
        message.MessageId = string.Create(
            CultureInfo.InvariantCulture,
            $"notice-{notice.Id}-{notice.CreatedAt.ToUnixTimeMilliseconds()}@{from.Domain}"
        );
        message.Headers.Add("Auto-Submitted", "auto-generated");
        message.Body = new TextPart("plain") { Text = notice.Body };
        return message;
    }

    private static SecureSocketOptions Security(MailOptions mail) =>
        mail.Plain ? SecureSocketOptions.None
        : mail.TlsFromStart ?? mail.Port == 465 ? SecureSocketOptions.SslOnConnect
        : SecureSocketOptions.StartTls;

    /// <returns>Why a certificate is not trusted; null when it is.</returns>
    internal static string? Distrust(
        X509Certificate2Collection? authorities,
        X509Certificate? shown,
        X509Chain? chain,
        SslPolicyErrors errors
    )
    {
        if (errors == SslPolicyErrors.None)
        {
            return null;
        }

        if (shown is null || errors.HasFlag(SslPolicyErrors.RemoteCertificateNotAvailable))
        {
            return "it shows none";
        }

        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch))
        {
            return "it is made out to another name";
        }

        var reason = Reason(chain);
        if (authorities is not { Count: > 0 })
        {
            return reason;
        }

        using var own = new X509Chain();
        own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        own.ChainPolicy.CustomTrustStore.AddRange(authorities);
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        own.ChainPolicy.ApplicationPolicy.Add(new Oid(ServerAuthentication));
        foreach (var element in chain?.ChainElements ?? Enumerable.Empty<X509ChainElement>())
        {
            own.ChainPolicy.ExtraStore.Add(element.Certificate);
        }

        using var certificate = new X509Certificate2(shown);
        return own.Build(certificate) ? null : Reason(own);
    }

    private static string Reason(X509Chain? chain) =>
        chain
            ?.ChainStatus.OrderBy(s => s.Status is X509ChainStatusFlags.RevocationStatusUnknown or X509ChainStatusFlags.OfflineRevocation)
            .Select(s => s.StatusInformation.Trim().TrimEnd('.'))
            .FirstOrDefault(s => s.Length > 0)
        ?? "nobody whom this machine trusts has signed it";

    private static string Words(Exception e, Step step, MailOptions mail, string target, string? distrust)
    {
        var server = $"The mail server {mail.Host}";
        var said = Text.Cut(e.Message.ReplaceLineEndings(" ").Trim().TrimEnd('.'), 200);
        return e switch
        {
            SslHandshakeException when distrust is not null =>
                $"{server} shows a certificate that is not trusted: {distrust}. Nothing was sent. Name the server as its certificate has it, or the file with its authority in ROLLCALL_SMTP_CA_FILE.",
            SslHandshakeException =>
                $"{server} does not speak TLS as it was to at port {mail.Port}. Nothing was sent. 465 is mostly TLS from the start, 587 turns to it: look at ROLLCALL_SMTP_PORT and ROLLCALL_SMTP_TLS.",
            NotSupportedException when step == Step.Connecting =>
                $"{server} offers no TLS at port {mail.Port}. Nothing was sent, for it would go in the clear. Use another port (ROLLCALL_SMTP_PORT, mostly 587 or 465), or have TLS turned on there.",
            NotSupportedException when step == Step.SigningIn =>
                $"{server} takes no sign-in at port {mail.Port}, or none by password. Take ROLLCALL_SMTP_USER away, or use another port.",
            AuthenticationException =>
                $"{server} refuses the sign-in of {mail.User}: {said}. Look at ROLLCALL_SMTP_USER and the file of ROLLCALL_SMTP_PASSWORD_FILE.",
            ServiceNotAuthenticatedException or SmtpCommandException { StatusCode: SmtpStatusCode.AuthenticationRequired } =>
                $"{server} wants a sign-in: {said}. Set ROLLCALL_SMTP_USER and ROLLCALL_SMTP_PASSWORD_FILE.",
            SmtpCommandException { ErrorCode: SmtpErrorCode.SenderNotAccepted } refused =>
                $"{server} takes no mail from {mail.From}: {(int)refused.StatusCode} {said}. Look at ROLLCALL_SMTP_FROM, and at ROLLCALL_SMTP_USER where it wants a sign-in.",
            SmtpCommandException { ErrorCode: SmtpErrorCode.RecipientNotAccepted } refused =>
                $"{server} takes no mail for {target}: {(int)refused.StatusCode} {said}. Look whether the address is right.",
            SmtpCommandException refused => $"{server} refused the mail: {(int)refused.StatusCode} {said}. Ask whoever runs it.",
            ServiceNotConnectedException or ProtocolException or IOException =>
                $"What answers at {mail.Host}, port {mail.Port}, broke off or is no mail server: {said}. Look at ROLLCALL_SMTP_HOST, ROLLCALL_SMTP_PORT and ROLLCALL_SMTP_TLS.",
            SocketException { SocketErrorCode: SocketError.HostNotFound or SocketError.NoData or SocketError.TryAgain } =>
                $"There is no computer {mail.Host} that this machine knows. Look at ROLLCALL_SMTP_HOST.",
            SocketException =>
                $"{server} cannot be reached at port {mail.Port}: {said}. See whether it runs, and look at ROLLCALL_SMTP_HOST and ROLLCALL_SMTP_PORT.",
            _ => $"{server} did not take the mail: {said}. Look at the settings that begin with ROLLCALL_SMTP_.",
        };
    }
}
