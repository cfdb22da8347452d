using System.Text.Encodings.Web;
using Rollcall.Operations;

namespace Rollcall.Server.Pages.Parts;

/// <summary>The progress of an operation as markup: pages and the live stream send the same.</summary>
internal static class Progress
{
    public static string Html(Operation operation, Here here) => Html(LiveOperation.Of(operation), here);

    /// <param name="operation">The operation.</param>
    /// <param name="here">Where the district's clock stands.</param>
    public static string Html(LiveOperation operation, Here here)
    {
        var what = operation switch
        {
            { CancelRequested: true } => "Stopping",
            { Status: OperationStatus.Waiting, Error: not null } => Words.Again(operation.NotBefore, here.Zone, here.Now),
            { Status: OperationStatus.Waiting } => "Waiting for its turn",
            { StageText: { } text } => text,
            _ => operation.Stage switch
            {
                OperationStage.Pulling => "Reading the roster",
                OperationStage.Planning => "Comparing",
                OperationStage.Applying => "Writing changes",
                _ => "Starting",
            },
        };
        var known = operation is { Total: > 0, Status: OperationStatus.Running };
        var done = Math.Min(operation.Done, operation.Total);
        var count =
            known ? $"{Words.Count(done)} of {Words.Count(operation.Total)}"
            : operation is { Done: > 0, Status: OperationStatus.Running } ? Words.Count(operation.Done)
            : "";
        var label = HtmlEncoder.Default.Encode(what);
        var bar =
            operation.Status == OperationStatus.Waiting ? ""
            : known ? $"<progress max=\"{operation.Total}\" value=\"{done}\" aria-label=\"{label}\"></progress>"
            : $"<progress aria-label=\"{label}\"></progress>";
        var pace = operation.Status == OperationStatus.Running ? Pace.Words(operation.Rate, operation.Done, operation.Total) : null;
        var also = pace is null ? "" : $"<span class=\"also\">{HtmlEncoder.Default.Encode(pace)}</span>";
        return $"<span class=\"progress-text\"><span>{label}</span><span class=\"num\">{count}</span></span>{bar}{also}";
    }
}
